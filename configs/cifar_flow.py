"""Rectified flow on CIFAR-10, class-conditional, with 2.7M parameters: the sibling of configs/cifar_small.py.

    python launch.py --config configs/cifar_flow.py
    python launch.py --config configs/cifar_flow.py --config.data.name=folder --config.data.path=DIR

A small UNet with attention at 8x8 predicts the velocity eps - x_0 of the straight paths between noise and data
(arXiv:2209.03003), with weight 1 on its error and stratified logit-normal times (arXiv:2403.03206). Muon with cosine
decay and three averages; sampling by Euler's method with 50 evaluations and a guidance scale of 2.

Cost: 3,500 steps of 32 images, 28 minutes of one core of an Intel Xeon with AMX in bfloat16, about 40 in float32.
Score: frechet/efficientnet_lite0@1000 of 53 against the test photographs by 50 evaluations, 48 by 10
(experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("cifar10", augment=settings.choice("flip"))
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2, 4), num_res_blocks=1, attention_resolutions=(8,), groups=8
    )
    config.conditions = {"label": {"drop": 0.1}}
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss.weighting = settings.choice("flow")
    config.loss.time_density = settings.choice("logit_normal")
    config.loss.stratified = True
    config.optimizer = settings.choice("muon", b2=0.99, max_grad_norm=1.0)
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = settings.choice("cosine", final_fraction=0.01)
    config.ema = {
        "short": settings.choice("constant", decay=0.9),
        "medium": settings.choice("constant", decay=0.99),
        "long": settings.choice("constant", decay=0.998),
    }
    config.train.batch_size = 32
    config.train.num_steps = 3500
    config.train.log_every = 50
    config.train.checkpoint_every = 500
    config.evaluators = {"samples": {"every": 1000}, "held_out_loss": {"every": 1000}}
    config.sampler = settings.choice(
        "euler", num_steps=50, guidance=settings.choice("classifier_free", scale=2.0), average="medium"
    )
    return config
