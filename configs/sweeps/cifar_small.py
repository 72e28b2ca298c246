"""How the recipe of configs/cifar_small.py was found: nine short runs at about equal cost, judged by features.

    python launch.py --config configs/cifar_small.py --sweep configs/sweeps/cifar_small.py --metric METRIC

METRIC is kernel/efficientnet_lite0@1000, the lowest being best: the kernel distance (KID) of 1,000 samples of 10
evaluations without guidance from 10,000 held-out photographs. Runs have 12,800 images to learn from; the narrow
network, which is cheaper, has 17,600, and the wide one 6,400. `base` is the recipe as it is, `former` the one before
this sweep (v-prediction with the velocity weighting and uniform times), and `log_normal` has EDM's noise levels, a
little wider.

Cost: 9 runs of about 9 minutes of one CPU core. Results: former 0.308, with logit-normal times 0.252, base 0.104, with
batches of 16 0.108, at twice the rate 0.126; the others are not measured. What leads after 400 steps does not lead
everywhere after 3,500: experiments/cifar_quality.
"""

from diffax import sweeps

METRIC = "kernel/efficientnet_lite0@1000"
SHORT = {
    "train.num_steps": 400,
    "train.checkpoint_every": 400,
    "train.best": METRIC,
    "optimizer.warmup_steps": 40,
    "ema.medium.decay": 0.98,
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
FORMER = {
    "parameterization": "v",
    "loss.weighting": "velocity",
    "loss.time_density": "uniform",
}
LOG_NORMAL = {
    "loss.time_density": "log_normal_sigma",
    "loss.time_density.mean": -1.0,
    "loss.time_density.std": 1.4,
}
POINTS = {
    "former": FORMER,
    "former, logit_normal": {name: FORMER[name] for name in ("parameterization", "loss.weighting")},
    "base": {},
    "log_normal": LOG_NORMAL,
    "rate 4e-3": {"optimizer.learning_rate": 4e-3},
    "batch 16": {"train.batch_size": 16, "train.num_steps": 800},
    "no flips": {"data.augment": "none"},
    "narrow": {"model.channel_multipliers": (1, 2, 2), "train.num_steps": 550},
    "wide": {"model.channels": 48, "train.num_steps": 200},
}


def get_points() -> list[sweeps.Overrides]:
    return sweeps.named(**{name: SHORT | point for name, point in POINTS.items()})
