"""Improved MeanFlow on CIFAR-10, class-conditional, with 2.7M parameters: samples by one evaluation of the network.

    python launch.py --config configs/cifar_meanflow.py
    python launch.py --config configs/cifar_meanflow.py --config.data.name=folder --config.data.path=DIR

The sibling of configs/cifar_flow.py: its UNet with a second time learns the average velocity between any two times
(arXiv:2512.02012). Guidance is an input of the network: scales from 1 to 8 and an interval of times in training, any of
them at sampling, at the price of one evaluation. Half of the samples have two times, from logit-normal draws of mean
-0.4; the adaptive weight has power 1, so that the loss is near 1 and tells nothing of quality. Sampling in one step by
its flow map, with a guidance scale of 2; euler samples it as a flow model.

Cost: 3,500 steps of 32 images. Score after 2,130 of them, 24 minutes of one core of an Intel Xeon with AMX in bfloat16:
frechet/efficientnet_lite0@1000 of 149, 88 and 89 against the test photographs by 1, 2 and 4 evaluations, where a flow
of equal cost has 53 by 50 (experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("cifar10", augment=settings.choice("flip"))
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2, 4), num_res_blocks=1, attention_resolutions=(8,), groups=8
    )
    # Smooth in t, since the loss is made of the network's derivative in it.
    config.model.time_input = settings.choice("unscaled")
    config.conditions = {"label": {"drop": 0.1}}
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss.name = "improved_mean_flow"
    config.loss.max_scale = 8.0
    config.loss.weighting = settings.choice("flow")
    config.loss.time_density = settings.choice("logit_normal", mean=-0.4, std=1.0)
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
        "flow_map", num_steps=1, guidance=settings.choice("embedded", scale=2.0), average="medium"
    )
    return config
