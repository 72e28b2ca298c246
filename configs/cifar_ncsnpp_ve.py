"""NCSN++ with the VE SDE (arXiv:2011.13456) on CIFAR-10: the settings of the continuous-time model, random flips.

    python launch.py --config configs/cifar_ncsnpp_ve.py

The variance-exploding SDE with uniform times, denoising score matching with weight sigma^2 (uniform on the noise),
Fourier features of log sigma with standard deviation 16, Adam with warm-up and clipping, EMA of 0.999. Their network
divides its output by sigma to give the score, so that what it outputs is minus the noise: noise prediction (eps), up
to a sign. Their images lie in [0, 1] and ours in [-1, 1]: all sigmas are twice theirs. Their loss is half the sum over
the 3,072 numbers of an image and ours the mean: the norm for clipping and Adam's eps are those for a loss 1,536 times
smaller.

What differs from the published code: the network is this library's UNet with the channels, multipliers, residual
blocks and attention resolution of NCSN++ (no FIR filters, no progressive input, residual sums not divided by sqrt(2),
Fourier frequencies at quantiles of their distribution). Sampling is their predictor alone, with 1,000 evaluations: for
this SDE reverse diffusion is ddpm with the large variance. Their Langevin corrector depends on the state and is no
sampler by name; samplers.predictor_corrector has it, for code of your own.

Cost: 1,300,000 steps of 128 images. Score: FID 2.38 with predictor and corrector, 2,000 evaluations, in the paper; not
measured here.
"""

from ml_collections import ConfigDict

from diffax import config as settings

_LOSS_RATIO = 32 * 32 * 3 / 2  # of the published loss to ours


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("cifar10", augment=settings.choice("flip"))
    config.model = settings.choice(
        "unet",
        channels=128,
        channel_multipliers=(1, 2, 2, 2),
        num_res_blocks=4,
        attention_resolutions=(16,),
        resblock_updown=True,
        dropout=0.1,
        # 16 on log sigma is 8 on log_snr = -2 log sigma.
        time_features=settings.choice("fourier", std=8.0),
        time_input=settings.choice("log_snr"),
    )
    config.schedule = settings.choice("variance_exploding", sigma_min=0.02, sigma_max=100.0)
    config.parameterization = settings.choice("eps")
    config.loss.weighting = settings.choice("uniform")
    config.loss.time_density = settings.choice("uniform", low=1e-5)
    config.optimizer = settings.choice("adam", eps=1e-8 / _LOSS_RATIO, max_grad_norm=1.0 / _LOSS_RATIO)
    config.optimizer.learning_rate = 2e-4
    config.optimizer.warmup_steps = 5_000
    config.ema = {"constant": {"decay": 0.999}}
    config.train.batch_size = 128
    config.train.num_steps = 1_300_000
    config.train.log_every = 100
    config.train.checkpoint_every = 10_000
    config.evaluators = {"samples": {"every": 10_000}, "held_out_loss": {"every": 10_000}}
    config.sampler = settings.choice("ddpm", variance="large", num_steps=1000)
    return config
