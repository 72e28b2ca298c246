"""Networks: Flax modules `module(x, time_input, condition=None, *, keys=None)` that know no schedule.

x is (batch, height, width, channels) or (batch, dim), time_input (batch,) any real number, condition None or a dict
(see `conditioning`), keys one typed JAX key per sample for dropout. Sample i of the result is a function of sample i of
each of them, and so does not know its batch.
"""

from diffax.networks import packed, remat
from diffax.networks.apply import Apply, Params, apply_fn, init_params
from diffax.networks.attention import AttentionBlock
from diffax.networks.blocks import Downsample, ResidualBlock, Upsample
from diffax.networks.conditioning import Condition, drop_condition, null_condition
from diffax.networks.embeddings import ConditionEmbedding, FourierFeatures, SinusoidalFeatures, sinusoidal
from diffax.networks.mlp import MLP
from diffax.networks.normalization import GroupNormAct
from diffax.networks.unet import UNet

__all__ = [
    "MLP",
    "Apply",
    "AttentionBlock",
    "Condition",
    "ConditionEmbedding",
    "Downsample",
    "FourierFeatures",
    "GroupNormAct",
    "Params",
    "ResidualBlock",
    "SinusoidalFeatures",
    "UNet",
    "Upsample",
    "apply_fn",
    "drop_condition",
    "init_params",
    "null_condition",
    "packed",
    "remat",
    "sinusoidal",
]
