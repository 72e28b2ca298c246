"""MeanFlow on handwritten digits, 8x8: samples by one evaluation. The sibling of configs/digits_flow.py.

    python launch.py --config configs/digits_original_meanflow.py

The UNet of configs/digits_flow.py with a second time learns the average velocity between any two times, by its
derivative along the velocity of each pair of noise and data (arXiv:2505.13447); configs/digits_meanflow.py has the
improved loss. A quarter of the samples have two times, from logit-normal draws of mean -0.4; the adaptive weight has
power 1, so that the loss is near 1 and tells nothing of quality. Sampling in one step by its flow map; ddim and euler
sample it as a flow model.

Cost: 2,800 steps of 32 images. Score after 1,147 of them: Frechet distance in a classifier's features
76.2, 23.1 and 10.4 by 1, 2 and 4 evaluations; 6.3 by 50 of a flow of equal cost (experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    # Smooth in t, since the loss is made of the network's derivative in it.
    config.model.time_input = settings.choice("unscaled")
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss.name = "mean_flow"
    config.loss.weighting = settings.choice("flow")
    config.loss.time_density = settings.choice("logit_normal", mean=-0.4, std=1.0)
    config.loss.stratified = True
    config.optimizer = settings.choice("muon", b2=0.99, max_grad_norm=1.0)
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = settings.choice("cosine", final_fraction=0.005)
    config.ema = {"constant": {"decay": 0.997}}
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.checkpoint_every = 1400
    config.evaluators = {"samples": {"every": 1400}, "held_out_loss": {"every": 1400}}
    config.sampler = settings.choice("flow_map", num_steps=1)
    return config
