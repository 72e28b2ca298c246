"""A drifting model of handwritten digits, 8x8: samples by one evaluation, without trajectories.

    python launch.py --config configs/digits_drifting.py
    python launch.py --config configs/digits_drifting.py --init_from runs/digits_flow
    python launch.py --config configs/spiral_flow.py --config.data.name=two_moons --config.loss.name=drifting
        --config.sampler.num_steps=1

The UNet of configs/digits_flow.py generates a digit from noise in one evaluation, at t = 1. Its samples are drawn to
the data of the batch and repel each other, by a kernel in features (arXiv:2602.04770). So batches are larger and steps
fewer than those of digits_flow. The third command does the same for points: on two moons a smaller network came to 0.99
times the sliced Wasserstein distance of held-out points (tests/training/test_drifting.py).

Cost: 700 steps of 128 images, as many images as configs/digits_flow.py. Score after 365 of them:
Frechet distance in a classifier's features 39.6; 6.3 by 50 evaluations of a flow of equal cost (experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss = settings.choice("drifting")
    config.loss.features = settings.choice("pixels")
    config.optimizer = settings.choice("muon", b2=0.99, max_grad_norm=1.0)
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = settings.choice("cosine", final_fraction=0.005)
    config.ema = {"constant": {"decay": 0.997}}
    config.train.batch_size = 128
    config.train.num_steps = 700
    config.train.log_every = 100
    config.train.checkpoint_every = 350
    config.evaluators = {"samples": {"every": 350}, "held_out_loss": {"every": 350}}
    config.sampler = settings.choice("euler", num_steps=1)
    return config
