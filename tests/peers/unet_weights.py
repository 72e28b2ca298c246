"""Weights of diffusers' UNet2DModel and of networks.UNet, either way: the same names in the same order of layers.

Theirs has to be built as DDPM's: flip_sin_to_cos=False and freq_shift=1 (sines first, both ends of the frequencies
met), norm_eps=1e-6, and downsample_padding=0, which pads the convolutions of stride 2 with zeros after the image alone.
Kernels are (out, in, height, width) there and (height, width, in, out) here; 1x1 convolutions are matrices here.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffax import networks

_RESNET = {
    "norm_1": "norm1",
    "conv_1": "conv1",
    "condition": "time_emb_proj",
    "norm_2": "norm2",
    "conv_2": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "group_norm", "query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
_ENDS = {
    "first": "conv_in",
    "embedding/time_1": "time_embedding.linear_1",
    "embedding/time_2": "time_embedding.linear_2",
    "embedding/label": "class_embedding",
    "last_norm": "conv_norm_out",
    "last": "conv_out",
}


def their_layers(unet: networks.UNet) -> dict[str, str]:
    """Every layer that our network may have, and its name in theirs: {"down_0_1/conv_1": "down_blocks.0.resnets.1..."}.

    A shortcut or an attention is listed whether or not the block has one.
    """
    levels, names = len(unet.channel_multipliers), dict(_ENDS)

    def block(ours: str, theirs: str, number: int, attention: str | None = None) -> None:
        names.update({f"{ours}/{mine}": f"{theirs}.resnets.{number}.{other}" for mine, other in _RESNET.items()})
        attention = f"{ours}_attention" if attention is None else attention
        names.update({f"{attention}/{mine}": f"{theirs}.attentions.{number}.{o}" for mine, o in _ATTENTION.items()})

    for level in range(levels):
        for number in range(unet.num_res_blocks):
            block(f"down_{level}_{number}", f"down_blocks.{level}", number)
        for number in range(unet.num_res_blocks + 1):
            block(f"up_{level}_{number}", f"up_blocks.{levels - 1 - level}", number)
        names[f"down_{level}_resample/conv"] = f"down_blocks.{level}.downsamplers.0.conv"
        names[f"up_{level}_resample/conv"] = f"up_blocks.{levels - 1 - level}.upsamplers.0.conv"
    block("middle_1", "mid_block", 0, "middle_attention")
    block("middle_2", "mid_block", 1, "none")
    return names


def from_theirs(unet: networks.UNet, state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Our parameters, a tree, from their state_dict as NumPy arrays; or our gradients from theirs.

    Raises:
      ValueError: arrays of theirs that have no place in our network.
    """
    left, tree = dict(state), {}
    for ours, theirs in their_layers(unet).items():
        for name in ("weight", "bias"):
            if f"{theirs}.{name}" in left:
                array = left.pop(f"{theirs}.{name}")
                leaf, value = ("bias", array) if name == "bias" else _weight(ours, array)
                _layer(tree, ours)[leaf] = value
    if left:
        raise ValueError(f"these weights have no place in our network: {', '.join(left)}")
    return tree


def to_theirs(unet: networks.UNet, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Their state_dict from our parameters, a tree of NumPy arrays."""
    names, state = their_layers(unet), {}
    for path, array in leaves(params):
        ours, _, leaf = path.rpartition("/")
        state[f"{names[ours]}.{'bias' if leaf == 'bias' else 'weight'}"] = _their_array(ours, leaf, array)
    return state


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(path, array) of every leaf, in alphabetical order: ("down_0_0/conv_1/bias", ...)."""
    for name, value in sorted(tree.items()):
        yield from leaves(value, f"{prefix}{name}/") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]


def _weight(ours: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """The name and value of our leaf for their weight."""
    if array.ndim == 1:
        return "scale", array
    if ours == "embedding/label":
        return "embedding", array
    if array.ndim == 2 or ours.endswith("shortcut"):
        return "kernel", array.reshape(array.shape[:2]).T
    return "kernel", array.transpose(2, 3, 1, 0)


def _their_array(ours: str, leaf: str, array: np.ndarray) -> np.ndarray:
    if leaf != "kernel":
        return array
    if ours.endswith("shortcut"):
        return array.T[:, :, None, None]
    return array.T if array.ndim == 2 else array.transpose(3, 2, 0, 1)


def _layer(tree: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("/"):
        tree = tree.setdefault(name, {})
    return tree


def heights(unet: networks.UNet, side: int) -> list[int]:
    """The side of an image at every level."""
    return list(itertools.accumulate(unet.channel_multipliers[1:], lambda height, _: height // 2, initial=side))
