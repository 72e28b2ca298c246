"""EDM (arXiv:2206.00364) on CIFAR-10, class-conditional, its best setting (table 7, DDPM++): 200 million images.

    python launch.py --config configs/cifar_edm.py

EDM's preconditioning, log-normal noise levels, loss weighting and non-leaking augmentation (p = 0.12, with the label
of each transformation as a condition, which is null when sampling), on sigma from 0.002 to 80. Adam with a learning
rate of 1e-3 after a ramp of 10 million images and no clipping, batches of 512, dropout 0.13, EMA with a half-life of
500,000 images that ramps up, Heun's method over 18 noise levels of the Karras grid: 35 evaluations. Their
unconditional model is --config.conditions.label=None.

What differs from the published code: the network is this library's UNet with the channels, multipliers, residual
blocks and attention resolution of their DDPM++ (its residual sums are not divided by sqrt(2); attention follows every
block of the way up at 16x16 and not the last alone; labels join the time embedding after its two layers and not
before; GroupNorm and initialization are DDPM's). Augmented images are resampled by a Lanczos filter and not by
wavelets. Noise levels are drawn within [0.002, 80], which cuts off 2e-5 of the distribution.

Cost: 390,625 steps; the paper took 2 days on 8 V100s. Score: FID 1.79 with 35 evaluations in the paper (1.97
unconditional); not measured here.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("cifar10", augment=settings.choice("geometric", probability=0.12))
    config.model = settings.choice(
        "unet",
        channels=128,
        channel_multipliers=(2, 2, 2),
        num_res_blocks=4,
        attention_resolutions=(16,),
        resblock_updown=True,
        dropout=0.13,
        time_input=settings.choice("quarter_log_sigma"),
    )
    config.conditions = {"label": {"drop": 0.0}}
    config.schedule = settings.choice("variance_exploding", sigma_min=0.002, sigma_max=80.0)
    config.parameterization = settings.choice("edm", sigma_data=0.5)
    config.loss.weighting = settings.choice("edm")
    config.loss.time_density = settings.choice("log_normal_sigma", mean=-1.2, std=1.2)
    config.optimizer = settings.choice("adam", b1=0.9, b2=0.999, eps=1e-8)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 10_000_000 // 512
    config.ema = {"half_life": {"images": 500_000, "ramp_up": 0.05}}
    config.train.batch_size = 512
    config.train.num_steps = 200_000_000 // 512
    config.train.log_every = 100
    config.train.checkpoint_every = 5_000
    config.evaluators = {"samples": {"every": 5_000}, "held_out_loss": {"every": 5_000}}
    config.sampler = settings.choice("heun", num_steps=18, grid=settings.choice("karras", rho=7.0))
    return config
