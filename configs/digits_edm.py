"""EDM (arXiv:2206.00364) on handwritten digits, 8x8: the published recipe on the network of digits.py.

    python launch.py --config configs/digits_edm.py

EDM's preconditioning, log-normal noise levels and loss weighting, sigma from 0.002 to 80, Adam with a ramp over the
first twentieth of training, EMA with its ramp-up, and Heun's method over 18 noise levels (35 evaluations). It is EDM's
CIFAR-10 recipe (configs/cifar_edm.py) except for the sizes of network and batch, the number of steps, labels, of which
it is told none, sigma_data, the standard deviation of the digits' pixels, and augmentation and dropout.

Those two keep the paper's 200 million images from overfitting. In the 90,000 of this config they only take training
from what is sampled, and a mirrored digit is none (experiments/digits_likelihood). With them:

    --config.data.augment=geometric --config.data.augment.probability=0.12 --config.model.dropout=0.13

Cost: 2,800 steps of 32 images. Score: frechet/pixels@2000 to the training digits 0.178 +- 0.006 (three seeds of the
samples, 35 evaluations; --mode evaluate --features pixels); to all digits 0.19 +- 0.02 with 20 evaluations of UniPC,
where digits_ddpm.py has 0.23 with 1,000 and this config with augmentation and dropout 0.64.
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet",
        channels=32,
        channel_multipliers=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(),
        groups=8,
        time_input=settings.choice("quarter_log_sigma"),
    )
    config.schedule = settings.choice("variance_exploding", sigma_min=0.002, sigma_max=80.0)
    config.parameterization = settings.choice("edm", sigma_data=0.75)
    config.loss.weighting = settings.choice("edm")
    config.loss.time_density = settings.choice("log_normal_sigma", mean=-1.2, std=1.2)
    config.optimizer = settings.choice("adam", b1=0.9, b2=0.999, eps=1e-8)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 140
    config.ema = {"half_life": {"images": 500_000, "ramp_up": 0.05}}
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.checkpoint_every = 1400
    config.evaluators = {"samples": {"every": 1400}, "held_out_loss": {"every": 1400}}
    config.sampler = settings.choice("heun", num_steps=18, grid=settings.choice("karras", rho=7.0))
    return config
