"""Rectified flow on a spiral in the plane (swiss roll): the sibling of configs/spiral.py at equal cost.

    python launch.py --config configs/spiral_flow.py
    python launch.py --config configs/spiral_flow.py --config.data.name=two_moons --config.train.coupling=exact

A residual MLP predicts the velocity of the straight paths between noise and data (arXiv:2209.03003), with weight 1 on
its error and stratified uniform times, Adam with cosine decay and EMA; sampling by Euler's method with 100 evaluations.
Straighter flows, by --mode reflow or coupling: experiments/rectified_flow/README.md.

Cost: 4,500 steps of 512 points, as configs/spiral.py. Score of a smaller network: experiments/rectified_flow/README.md.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("swiss_roll")
    # 999 t, and not the log-SNR, which at t = 1, where a single step starts, is far from all that training has seen.
    config.model = settings.choice("mlp", time_input=settings.choice("scaled"))
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss.weighting = settings.choice("flow")
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
    config.sampler = settings.choice("euler", num_steps=100)
    return config
