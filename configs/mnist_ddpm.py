"""MNIST by class, 28 x 28 padded to 32, about 1M parameters: half an hour of CPU.

    python launch.py --config configs/mnist_ddpm.py
    python launch.py --workdir runs/mnist_ddpm --mode sample --label 7

With the four official files at hand: --config.data.path=FOLDER.
"""

from ml_collections import ConfigDict

from configs import cifar_small


def get_config() -> ConfigDict:
    config = cifar_small.get_config()
    config.data.name = "mnist"
    config.data.augment = "none"
    config.data.pad = 2
    config.model.channel_multipliers = (1, 2, 2)
    config.model.attention_resolutions = ()
    config.train.num_steps = 2500
    config.train.checkpoint_every = 1000
    config.sampler.guidance_scale = 1.5
    return config
