"""Real handwritten digits, 8x8, from scikit-learn: the first thing to run.

python launch.py --config configs/digits_ddpm.py
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data.name = "digits"
    config.model.channels = 32
    config.model.channel_multipliers = (1, 2)
    config.model.num_res_blocks = 1
    config.model.attention_resolutions = ()
    config.model.groups = 8
    config.schedule = {"name": "cosine"}
    # The network learns what a Gaussian of the digits' mean and covariance does not know; sigma_data is the standard
    # deviation of the pixels. Where there is almost only noise, EDM weighs what v leaves unlearned.
    config.parameterization = {"name": "edm_gaussian", "sigma_data": 0.54}
    config.loss.weighting = {"name": "edm", "sigma_data": 0.54}
    # Less of the noisy end than a uniform density, whose half a Gaussian knows already.
    config.loss.time_density = {"name": "logit_normal", "mean": -0.6, "std": 1.0}
    config.loss.stratified = True
    config.loss.stable_targets = True
    # A tenth more time a step than Adam, and better after four fifths of the steps.
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.b2 = 0.99
    config.optimizer.decay = "cosine"
    config.optimizer.final_fraction = 0.005
    config.optimizer.max_grad_norm = 1.0
    config.optimizer.warmup_steps = 100
    config.ema.decay = 0.997
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.sample_every = 1400
    config.train.checkpoint_every = 1400
    config.sampler.epsilon_scale = 1.02
    return config
