"""Consistency training on handwritten digits, 8x8: samples by one evaluation of the network.

    python launch.py --config configs/digits_consistency.py

The network and optimizer of configs/digits_flow.py with EDM's noise levels and preconditioning, which are those of
consistency models (arXiv:2303.01469): a network of one time whose prediction does not change along a trajectory. The
loss is that of arXiv:2310.14189: pseudo-Huber distance, 10 to 1,280 intervals of noise levels, lognormal levels, no
average of the parameters in the target. Distillation of a run with this schedule, such as one of configs/digits_edm.py:
--config.loss.teacher=RUN --config.loss.solver=heun.

Cost: 2,800 steps of 32 images. Score after 1,147 of them: Frechet distance in a classifier's features
28.7, 21.1 and 18.4 by 1, 2 and 4 evaluations; 6.3 by 50 of a flow of equal cost (experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    config.model.time_input = settings.choice("quarter_log_sigma")
    config.schedule = settings.choice("variance_exploding", sigma_min=0.002, sigma_max=80.0)
    config.parameterization = settings.choice("edm", sigma_data=0.75)
    config.loss = settings.choice("consistency")
    config.loss.time_density = settings.choice("log_normal_sigma", mean=-1.1, std=2.0)
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
    config.sampler = settings.choice("consistency", num_steps=1, grid=settings.choice("karras", rho=7.0))
    return config
