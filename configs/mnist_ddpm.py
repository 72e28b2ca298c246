"""MNIST by class, 28 x 28 padded to 32, about 1M parameters: half an hour on two CPU cores.

    python launch.py --config configs/mnist_ddpm.py
    python launch.py --workdir runs/mnist_ddpm --mode sample --label 7

With the four official files at hand: --config.data.path=FOLDER.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "mnist"
    config.data.pad = 2
    config.model.channels = 32
    config.model.channel_multipliers = (1, 2, 2)
    config.model.num_res_blocks = 1
    config.model.attention_resolutions = ()
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
    config.train.num_steps = 4000
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.checkpoint_every = 1000
    config.sampler.guidance_scale = 1.5
    return config
