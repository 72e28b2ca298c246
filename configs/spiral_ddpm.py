"""A spiral in the plane: a minute on a laptop.

python launch.py --config configs/spiral_ddpm.py
"""

from ml_collections import ConfigDict

from diffax import config as settings
from diffax import networks


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "swiss_roll"
    config.model = settings.network(networks.MLP)
    config.model.time_input = "log_snr"
    config.schedule = {"name": "cosine"}
    config.parameterization = {"name": "v"}
    config.loss.weighting = {"name": "velocity"}
    config.loss.stratified = True
    config.optimizer.learning_rate = 2e-3
    config.optimizer.decay = "cosine"
    config.optimizer.warmup_steps = 100
    config.ema.decay = 0.998
    config.train.batch_size = 512
    config.train.num_steps = 4500
    config.train.log_every = 500
    config.train.sample_every = 1500
    config.train.checkpoint_every = 1500
    config.sampler.num_steps = 100
    return config
