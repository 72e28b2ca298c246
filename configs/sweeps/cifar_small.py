"""What to change in configs/cifar_small.py: eight short runs at about equal cost, judged by features of photographs.

    python launch.py --config configs/cifar_small.py --sweep configs/sweeps/cifar_small.py --metric METRIC

METRIC is kernel/efficientnet_lite0@1000, the lowest being best: the kernel distance (KID) of 1,000 samples of 10
evaluations without guidance from 10,000 held-out photographs. Runs have 12,800 images to learn from; the narrow
network, which is cheaper, has 17,600, and the wide one 6,400. `base` is the recipe as it is; `gaussian` that of
configs/digits.py: EDM's preconditioned output around a Gaussian of the data, EDM's loss weighting and times of a
logit-normal density.

Cost: 8 runs of about 9 minutes of one CPU core. First results: base 0.308, logit_normal 0.252, gaussian 0.104,
gaussian with batches of 16 0.108, gaussian at twice the rate 0.126; the other three are not measured.
"""

from diffax import sweeps

METRIC = "kernel/efficientnet_lite0@1000"
SHORT = {
    "train.num_steps": 400,
    "train.checkpoint_every": 400,
    "train.best": METRIC,
    "optimizer.warmup_steps": 40,
    "ema.constant.decay": 0.98,
    "sampler.num_steps": 10,
    "sampler.guidance": "none",
    "evaluators.samples.every": 400,
    "evaluators.held_out_loss.every": 400,
    "evaluators.sample_metrics.every": 400,
    "evaluators.sample_metrics.metrics": ("kernel", "frechet"),
    "evaluators.sample_metrics.features": "efficientnet_lite0",
    "evaluators.sample_metrics.num_samples": 1000,
    "evaluators.sample_metrics.reference": "held_out",
}
GAUSSIAN = {
    "parameterization": "edm_gaussian",
    "parameterization.sigma_data": 0.5,
    "loss.weighting": "edm",
    "loss.time_density": "logit_normal",
    "loss.time_density.mean": -0.6,
    "loss.time_density.std": 1.0,
}
POINTS = {
    "base": {},
    "logit_normal": {key: value for key, value in GAUSSIAN.items() if "time_density" in key},
    "gaussian": GAUSSIAN,
    "gaussian, rate 4e-3": GAUSSIAN | {"optimizer.learning_rate": 4e-3},
    "gaussian, batch 16": GAUSSIAN | {"train.batch_size": 16, "train.num_steps": 800},
    "gaussian, no flips": GAUSSIAN | {"data.augment": "none"},
    "gaussian, narrow": GAUSSIAN | {"model.channel_multipliers": (1, 2, 2), "train.num_steps": 550},
    "gaussian, wide": GAUSSIAN | {"model.channels": 48, "train.num_steps": 200},
}


def get_points() -> list[sweeps.Overrides]:
    return sweeps.named(**{name: SHORT | point for name, point in POINTS.items()})
