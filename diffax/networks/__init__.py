"""Networks: the UNet and the MLP, Flax Linen modules `module(x, time_input, condition=None, *, keys=None)`.

x is (batch, height, width, channels) or (batch, dim), time_input (batch,) any real number, condition None or a dict of
the conditions that the module declares (diffax.conditions), keys one typed JAX key per sample for dropout. Sample i of
the result is a function of sample i of each of them. Networks know no noise schedule.
"""

from diffax.networks import remat
from diffax.networks.attention import AttentionBlock
from diffax.networks.blocks import Downsample, ResidualBlock, Upsample
from diffax.networks.embeddings import (
    ConditionEmbedding,
    FourierFeatures,
    SinusoidalFeatures,
    TokenEmbedding,
    sinusoidal,
)
from diffax.networks.linen import Linen, Params, as_network
from diffax.networks.mlp import MLP
from diffax.networks.normalization import GroupNormAct
from diffax.networks.unet import UNet

# What config.model.name chooses from, by their names in lower case.
NETWORKS = (UNet, MLP)

__all__ = [
    "MLP",
    "NETWORKS",
    "AttentionBlock",
    "ConditionEmbedding",
    "Downsample",
    "FourierFeatures",
    "GroupNormAct",
    "Linen",
    "Params",
    "ResidualBlock",
    "SinusoidalFeatures",
    "TokenEmbedding",
    "UNet",
    "Upsample",
    "as_network",
    "remat",
    "sinusoidal",
]
