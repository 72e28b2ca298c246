"""Handwritten digits, 8x8, class-conditional with classifier-free guidance.

    python launch.py --config configs/digits_conditional.py
    python launch.py --workdir runs/digits_conditional --mode sample --label 7 --guidance_scale 2

The recipe of digits.py with labels (dropped with probability 0.1 in training), the usual regression target instead of
stable targets (which know no labels), and a guidance scale of 1.5 without epsilon scaling (guidance takes variance away
on purpose).

Cost: 2,800 steps of 32 images. Score and time on named hardware: experiments/first_models/README.md.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    config.conditions = {"label": {"drop": 0.1}}
    config.schedule = settings.choice("cosine")
    config.parameterization = settings.choice("edm_gaussian", sigma_data=0.54)
    config.loss.weighting = settings.choice("edm")
    config.loss.time_density = settings.choice("logit_normal", mean=-0.6, std=1.0)
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
    config.sampler = settings.choice("ddim", num_steps=50, guidance=settings.choice("classifier_free", scale=1.5))
    return config
