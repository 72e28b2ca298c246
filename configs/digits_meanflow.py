"""MeanFlow on handwritten digits, 8x8: samples by one evaluation of the network. The sibling of configs/digits_flow.py.

    python launch.py --config configs/digits_meanflow.py

The UNet of configs/digits_flow.py with a second time learns the average velocity between any two times, by its
derivative along the trajectory (arXiv:2505.13447), with the paper's share of samples with two times, 1/4, and power of
the adaptive weight, 1. Sampling in one step by its flow map; ddim samples it as a flow model.

Cost: 2,800 steps of 32 images. Score: not measured yet.
"""

from ml_collections import ConfigDict

from configs import digits_flow
from diffax import config as settings


def get_config() -> ConfigDict:
    config = digits_flow.get_config()
    config.loss.name = "mean_flow"
    config.loss.stable_targets = False
    config.sampler = settings.choice("flow_map", num_steps=1)
    return config
