"""CIFAR-10 by class with 2.7M parameters: about an hour of CPU, to see that everything works on real photographs.

python launch.py --config configs/cifar_small.py
python launch.py --config configs/cifar_small.py --config.data.name=folder --config.data.path=DIR
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "cifar10"
    config.data.augment = "flip"
    config.model.channels = 32
    config.model.channel_multipliers = (1, 2, 4)
    config.model.num_res_blocks = 1
    config.model.attention_resolutions = (8,)
    config.model.groups = 8
    config.model.class_conditional = True
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
    config.train.num_steps = 3500
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.checkpoint_every = 500
    config.sampler.guidance_scale = 2.0
    return config
