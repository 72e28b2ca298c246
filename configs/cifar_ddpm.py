"""DDPM (arXiv:2006.11239) on CIFAR-10 as published: 35.7M parameters, 800,000 steps of 128 images, random flips.

    python launch.py --config configs/cifar_ddpm.py

Noise prediction (eps), linear schedule of 1,000 steps, simple loss, Adam, EMA of 0.9999, ancestral sampling with the
large variance. The first start downloads the official archive (162 MB) and prepares it without TensorFlow. With the
archive at hand: --config.data.path=cifar-10-binary.tar.gz; with any images in folders: --config.data.name=folder
--config.data.path=DIR --config.data.size=32. Other sets of TFDS by name: cifar100; celeb_a with --config.data.size=64,
imagenet_resized/32x32, once they are prepared (--mode inspect_data says how).

Cost: 10.6 hours on a TPU v3-8 (the paper, appendix B); days on one GPU. Score: FID 3.17 with 1,000 evaluations in the
paper; not measured here. 200 steps were run on real data: experiments/real_data/README.md.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("cifar10", augment=settings.choice("flip"))
    config.model = settings.choice(
        "unet",
        channels=128,
        channel_multipliers=(1, 2, 2, 2),
        num_res_blocks=2,
        attention_resolutions=(16,),
        dropout=0.1,
        time_input=settings.choice("index"),
    )
    config.schedule = settings.choice("discrete_linear", num_steps=1000, beta_start=1e-4, beta_end=0.02)
    config.parameterization = settings.choice("eps")
    config.loss.weighting = settings.choice("uniform")
    config.loss.time_density = settings.choice("discrete_uniform", num_steps=1000)
    config.optimizer = settings.choice("adam", max_grad_norm=1.0)
    config.optimizer.learning_rate = 2e-4
    config.optimizer.warmup_steps = 5_000
    config.ema = {"constant": {"decay": 0.9999}}
    config.train.batch_size = 128
    config.train.num_steps = 800_000
    config.train.log_every = 100
    config.train.checkpoint_every = 10_000
    config.evaluators = {"samples": {"every": 10_000}, "held_out_loss": {"every": 10_000}}
    config.sampler = settings.choice("ddpm", variance="large", num_steps=1000, grid=settings.choice("discrete"))
    return config
