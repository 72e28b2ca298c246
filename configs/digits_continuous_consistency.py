"""Continuous-time consistency training (sCM) on handwritten digits, 8x8: samples by one evaluation of the network.

    python launch.py --config configs/digits_continuous_consistency.py

The network and optimizer of configs/digits_flow.py with the cosine schedule and v-prediction, which are TrigFlow
(arXiv:2410.11081): a network of one time whose prediction does not change along a trajectory, by the derivative, with
the paper's tangent normalization and warm-up, learned loss weighting and lognormal noise levels. The paper starts from
a diffusion model of the same schedule and network, by --init_from RUN, and distills it by --config.loss.teacher=RUN:

    python launch.py --config configs/digits.py --config.parameterization=v --config.model.time_input=unscaled
        --workdir runs/digits_v
    python launch.py --config configs/digits_continuous_consistency.py --init_from runs/digits_v

Cost: 2,800 steps of 32 images. Score after 583 of them, from a v-prediction model: Frechet distance in a
classifier's features 32.9, 28.6 and 27.0 by 1, 2 and 4 evaluations; 6.3 by 50 of a flow of equal cost
(experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    # Smooth in t, since the loss is made of the network's derivative in it.
    config.model.time_input = settings.choice("unscaled")
    config.schedule = settings.choice("cosine")
    config.parameterization = settings.choice("v")
    config.loss = settings.choice("continuous_consistency")
    config.loss.weighting = settings.choice("learned", sigma_data=1.0)
    config.loss.time_density = settings.choice("log_normal_sigma", mean=-1.0, std=1.4)
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
    config.sampler = settings.choice("consistency", num_steps=1)
    return config
