"""The VE SDE (arXiv:2011.13456) on handwritten digits, 8x8: its recipe on the network of digits.py.

    python launch.py --config configs/digits_ve.py

The variance-exploding SDE with denoising score matching of weight sigma^2 (noise prediction with uniform weights),
Fourier features of log sigma, Adam with warm-up, clipping and EMA of 0.999, and 1,000 steps of reverse diffusion,
which is ddpm with the large variance. sigma reaches from 0.02 to 10, the largest distance between two digits
(arXiv:2006.09011, technique 1). It is the recipe of configs/cifar_ncsnpp_ve.py except for that, the sizes of network
and batch, the number of steps, dropout, the norm of clipping, Adam's eps, the warm-up and the learning rate, which is
higher for so few steps.

Cost: 2,800 steps of 32 images. Score: pixel Frechet distance to all digits of 500 samples with 250 steps 0.69; of
2,000 samples by Heun's method with 35 evaluations 12.5. At high noise x_0 = x_t - sigma eps magnifies the network's
error of eps sigma times, which the ODE keeps and new noise forgets: see experiments/digits_likelihood/README.md.
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
        # 16 on log sigma is 8 on log_snr = -2 log sigma.
        time_features=settings.choice("fourier", std=8.0),
        time_input=settings.choice("log_snr"),
    )
    config.schedule = settings.choice("variance_exploding", sigma_min=0.02, sigma_max=10.0)
    config.parameterization = settings.choice("eps")
    config.loss.weighting = settings.choice("uniform")
    config.loss.time_density = settings.choice("uniform", low=1e-5)
    config.optimizer = settings.choice("adam", max_grad_norm=1.0)
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.ema = {"constant": {"decay": 0.999}}
    config.train.batch_size = 32
    config.train.num_steps = 2800
    config.train.log_every = 100
    config.train.checkpoint_every = 1400
    config.evaluators = {"samples": {"every": 1400}, "held_out_loss": {"every": 1400}}
    config.sampler = settings.choice("ddpm", variance="large", num_steps=1000)
    return config
