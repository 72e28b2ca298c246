"""A spiral in the plane (swiss roll): a minute on a laptop.

    python launch.py --config configs/spiral.py

A residual MLP predicts v under the cosine schedule, with the velocity weighting (uniform on v), stratified uniform
times, Adam with cosine decay and EMA; sampling by DDIM with 100 evaluations.

Cost: 4,500 steps of 512 points. Score and time on named hardware: experiments/first_models/README.md.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("swiss_roll")
    config.model = settings.choice("mlp", time_input=settings.choice("log_snr"))
    config.schedule = settings.choice("cosine")
    config.parameterization = settings.choice("v")
    config.loss.weighting = settings.choice("velocity")
    config.loss.stratified = True
    config.optimizer = settings.choice("adam")
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = settings.choice("cosine")
    config.ema = {"constant": {"decay": 0.998}}
    config.train.batch_size = 512
    config.train.num_steps = 4500
    config.train.log_every = 500
    config.train.checkpoint_every = 1500
    config.evaluators = {"samples": {"every": 1500}, "held_out_loss": {"every": 1500}}
    config.sampler = settings.choice("ddim", num_steps=100)
    return config
