"""MNIST by class, 28 x 28 padded to 32, about 1M parameters: half an hour on two CPU cores.

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
    config.model.channels = 32
    config.model.num_res_blocks = 1
    config.model.attention_resolutions = ()
    config.model.class_conditional = True
    config.train.num_steps = 4000
    config.train.checkpoint_every = 1000
    config.sampler.guidance_scale = 1.5
    return config
