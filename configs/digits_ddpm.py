"""DDPM (arXiv:2006.11239) on handwritten digits, 8x8: the textbook recipe on the network of digits.py.

    python launch.py --config configs/digits_ddpm.py

Noise prediction (eps) under the linear schedule of 1,000 steps, with the simple loss (uniform weighting, uniform
discrete times), Adam, constant EMA of 0.9999 after its warm-up, and ancestral sampling with the large variance over all
1,000 steps. It is DDPM's CIFAR-10 recipe (configs/cifar_ddpm.py) except for the sizes of network and batch, the number
of steps, the warm-up and the learning rate, which is higher for so few steps.

Cost: 2,800 steps of 32 images. Score and time on named hardware, beside those of digits.py:
experiments/first_models/README.md.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    config.model.time_input = settings.choice("index")
    config.schedule = settings.choice("discrete_linear", num_steps=1000, beta_start=1e-4, beta_end=0.02)
    config.parameterization = settings.choice("eps")
    config.loss.weighting = settings.choice("uniform")
    config.loss.time_density = settings.choice("discrete_uniform", num_steps=1000)
    config.optimizer = settings.choice("adam", max_grad_norm=1.0)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.ema = {"constant": {"decay": 0.9999}}
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.checkpoint_every = 1400
    config.evaluators = {"samples": {"every": 1400}, "held_out_loss": {"every": 1400}}
    config.sampler = settings.choice("ddpm", variance="large", num_steps=1000, grid=settings.choice("discrete"))
    return config
