"""CIFAR-10 with about 3M parameters: an hour on two CPU cores, to see that everything works on real photographs.

python launch.py --config configs/cifar_small.py
python launch.py --config configs/cifar_small.py --config.data.name=folder --config.data.path=DIR
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "cifar10"
    config.data.augment = "flip"
    config.model.channels = 48
    config.model.channel_multipliers = (1, 2, 2)
    config.model.num_res_blocks = 2
    config.model.attention_resolutions = (8,)
    config.model.groups = 8
    config.schedule = {"name": "cosine"}
    config.parameterization = {"name": "v"}
    config.loss.weighting = {"name": "velocity"}
    config.loss.stratified = True
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-3
    config.optimizer.b2 = 0.99
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = "cosine"
    config.optimizer.final_fraction = 0.01
    config.optimizer.max_grad_norm = 1.0
    config.ema.decay = 0.998
    config.train.batch_size = 32
    config.train.num_steps = 3000
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.checkpoint_every = 500
    return config
