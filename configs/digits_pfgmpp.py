"""PFGM++ (arXiv:2302.04265) on handwritten digits, 8x8: digits_edm.py under the noise of Poisson flow with D = 128.

    python launch.py --config configs/digits_pfgmpp.py
    python launch.py --config configs/digits_pfgmpp.py --config.noise.dim=2048

As in the paper everything but the noise is EDM's: preconditioning, weighting, noise levels (r = sigma sqrt(D)) and
Heun's method. EDM is the limit of a large D.

Cost: 2,800 steps of 32 images. Score: experiments/poisson_flow/README.md.
"""

from ml_collections import ConfigDict

from configs import digits_edm
from diffax import config as settings


def get_config() -> ConfigDict:
    config = digits_edm.get_config()
    config.noise = settings.choice("pfgmpp", dim=128.0)
    return config
