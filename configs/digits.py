"""Handwritten digits, 8x8, from scikit-learn, with the best recipe found for them: the first thing to run.

    python launch.py --config configs/digits.py

A UNet of 651,041 parameters predicts EDM's preconditioned output around a Gaussian of the digits' mean and covariance
(parameterization edm_gaussian), under the cosine schedule, with EDM's loss weighting, logit-normal training times and
stable targets. Muon with cosine decay, EMA, gradient clipping. Sampling by DDIM with 50 evaluations and epsilon
scaling.

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
    config.schedule = settings.choice("cosine")
    # sigma_data is the standard deviation of the pixels; the weighting takes it from here.
    config.parameterization = settings.choice("edm_gaussian", sigma_data=0.54)
    # Where there is almost only noise, EDM weighs down what a uniform weight on v leaves unlearned.
    config.loss.weighting = settings.choice("edm")
    # Fewer times at the noisy end than a uniform density has: the Gaussian knows half of it already.
    config.loss.time_density = settings.choice("logit_normal", mean=-0.6, std=1.0)
    config.loss.stratified = True
    config.loss.stable_targets = True
    # A tenth more time a step than Adam, and better after four fifths of the steps.
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
    config.sampler = settings.choice("ddim", num_steps=50, epsilon_scale=1.02)
    return config
