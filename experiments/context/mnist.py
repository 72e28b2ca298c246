"""MNIST with captions, 28 x 28 padded to 32: the recipe of configs/mnist.py with sentence vectors instead of labels.

    python launch.py --config experiments/context/mnist.py --config.data.path=DIR

It needs the four official files in DIR, pip install 'diffax[text]' and make text-encoder.
"""

from ml_collections import ConfigDict

from configs import mnist
from diffax import config as settings


def get_config() -> ConfigDict:
    config = mnist.get_config()
    config.data = settings.choice("experiments.context.captions:mnist")
    config.conditions = {"text": settings.choice("text", encoder="all-minilm-l6-v2", form="vector", drop=0.1)}
    return config
