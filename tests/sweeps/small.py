"""A run of six steps of an MLP on 100 points."""

from diffax import config as settings


def get_config():
    config = settings.default()
    config.data = settings.choice("tests.tiny:points")
    config.model = settings.choice("mlp", hidden=8, depth=1)
    config.optimizer.learning_rate = 1e-2
    config.train.batch_size = 4
    config.train.num_steps = 6
    config.train.log_every = 2
    config.train.checkpoint_every = 3
    config.evaluators = {"held_out_loss": {"every": 3}}
    config.sampler = settings.choice("ddim", num_steps=2)
    return config
