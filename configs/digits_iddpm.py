"""Improved DDPM (arXiv:2102.09672) on handwritten digits, 8x8: the hybrid loss on the network of digits.py.

    python launch.py --config configs/digits_iddpm.py

The recipe of digits_ddpm.py but for what the paper changes: a learned variance with the hybrid loss, the cosine
schedule, and ancestral sampling with the learned variance, over all 1,000 steps or any number of them:

    python launch.py --workdir RUN --mode sample --config.sampler.num_steps=50

The pure bound instead of the hybrid loss: --config.loss.name=variational_bound
--config.loss.time_density.name=loss_second_moment.

Cost: 2,800 steps of 32 images, as digits_ddpm.py. Score: experiments/digits_likelihood/README.md.
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
    config.schedule = settings.choice("discrete_cosine", num_steps=1000)
    config.parameterization = settings.choice("eps")
    # The length of the chain and of the times is that of the schedule.
    config.loss = settings.choice("hybrid", bound_weight=0.001)
    config.loss.weighting = settings.choice("uniform")
    config.loss.time_density = settings.choice("discrete_uniform")
    config.optimizer = settings.choice("adam", max_grad_norm=1.0)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.ema = {"constant": {"decay": 0.9999}}
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.checkpoint_every = 1400
    config.evaluators = {"samples": {"every": 1400}, "held_out_loss": {"every": 1400}}
    config.sampler = settings.choice("ancestral", num_steps=1000, grid=settings.choice("discrete"))
    # As in the published code: the cosine schedule ends in steps that amplify errors of eps.
    config.sampler.thresholding = settings.choice("thresholded")
    return config
