"""CIFAR-10, class-conditional, with 2.7M parameters: within an hour of CPU, to see everything work on photographs.

    python launch.py --config configs/cifar_small.py
    python launch.py --config configs/cifar_small.py --config.data.name=folder --config.data.path=DIR

A small UNet with attention at 8x8 predicts EDM's preconditioned output around a Gaussian of the data's mean and
covariance (parameterization edm_gaussian), whose estimates it is given beside x_t, under the cosine schedule, with
EDM's loss weighting and log-normal noise levels, Muon with cosine decay and three averages of the parameters; sampling
by DDIM with 50 evaluations and a guidance scale of 2. configs/sweeps/cifar_small.py and experiments/cifar_quality
compare the recipe with others.

Cost: 3,500 steps of 32 images, 27 minutes of one core of an Intel Xeon with AMX in bfloat16
(--config.model.dtype=bfloat16, jaxlib 0.12.0.1), about 40 in float32. Score: frechet/efficientnet_lite0@10000 of
30.5 against the test photographs, by 50 evaluations, guidance 3 and the short average (experiments/cifar_quality).
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
    config.schedule = settings.choice("cosine")
    config.parameterization = settings.choice("edm_gaussian", sigma_data=0.5, as_input=True)
    config.loss.weighting = settings.choice("edm")
    config.loss.time_density = settings.choice("log_normal_sigma", mean=-0.9, std=1.1)
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
        "ddim", num_steps=50, guidance=settings.choice("classifier_free", scale=2.0), average="medium"
    )
    return config
