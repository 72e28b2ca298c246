"""DDPM on CIFAR-10 as published: 35.7M parameters, 800,000 steps of 128 images, mirrored at random.

    python launch.py --config configs/cifar_ddpm.py

The first start downloads the official archive (162 MB) and prepares it without TensorFlow. With the archive at hand:
--config.data.path=cifar-10-binary.tar.gz; with any images in folders: --config.data.name=folder
--config.data.path=DIR --config.data.size=32. Other sets of TFDS by name: cifar100; celeb_a with --config.data.size=64,
imagenet_resized/32x32, once they are prepared (--mode inspect_data says how).

Ho et al. (arXiv:2006.11239, appendix B) report FID 3.17 with 1000 sampling steps after 10.6 hours on a TPU v3-8; not
measured here.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "cifar10"
    config.data.augment = "flip"
    config.model.channels = 128
    config.model.channel_multipliers = (1, 2, 2, 2)
    config.model.num_res_blocks = 2
    config.model.attention_resolutions = (16,)
    config.model.dropout = 0.1
    config.model.time_input = "index"
    config.schedule = {"name": "discrete_linear", "num_steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
    config.parameterization = {"name": "eps"}
    config.loss.weighting = {"name": "uniform"}
    config.loss.time_density = {"name": "discrete_uniform"}
    config.optimizer.learning_rate = 2e-4
    config.optimizer.warmup_steps = 5_000
    config.optimizer.max_grad_norm = 1.0
    config.ema.decay = 0.9999
    config.train.batch_size = 128
    config.train.num_steps = 800_000
    config.train.log_every = 100
    config.train.sample_every = 10_000
    config.train.checkpoint_every = 10_000
    config.sampler.name = "ddpm"
    config.sampler.variance = "large"
    config.sampler.num_steps = 1000
    config.sampler.grid = "trailing"
    return config
