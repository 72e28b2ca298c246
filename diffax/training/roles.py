"""Roles of parameters: which are matrices of blocks, embeddings, first and last layers, or vectors.

The role follows from the parameter's path in the tree, so that an optimizer treats a kernel as a kernel and a label
table as an embedding although both have two axes. Muon is for the matrices of blocks; embeddings, first and last
layers and vectors are Adam's (Muon's authors; arXiv:2502.16982, section 2). Weight decay is for matrices and for
first and last layers alone: it would only pull normalization scales and biases to zero.
"""

import enum
from typing import Any

import jax


class Role(enum.Enum):
    """What a parameter is to an optimizer."""

    MATRIX = "matrix"  # the kernel of a dense layer or a convolution within a block
    END = "end"  # the kernel of the first or the last layer
    EMBEDDING = "embedding"  # label tables and the layers that embed time and condition
    VECTOR = "vector"  # biases and normalization scales


_VECTORS = ("bias", "scale", "b", "beta", "gamma")
_ENDS = ("first", "last", "conv_in", "conv_out")


def role_of(path: tuple[str, ...], leaf: Any) -> Role:
    """The role of the parameter at a path of names, outermost first.

    A parameter called bias or scale, or of fewer than two axes, is a vector. One below a module whose name has "embed"
    in it is an embedding. One of a module called first or last (conv_in, conv_out in diffusers) is of the first or the
    last layer. All others are matrices.
    """
    if path[-1].lower() in _VECTORS or leaf.ndim < 2:
        return Role.VECTOR
    if any("embed" in name.lower() for name in path):
        return Role.EMBEDDING
    return Role.END if any(name.lower() in _ENDS for name in path) else Role.MATRIX


def roles(params: Any) -> Any:
    """The roles of all parameters, a tree of their structure."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: role_of(names(path), leaf), params)


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A JAX key path as plain names: of dictionary keys, attributes and indices.

    Keys that are paths themselves, such as "first/kernel" of packed parameters, are split.
    """
    return tuple(name for entry in path for name in jax.tree_util.keystr((entry,), simple=True).split("/")) or ("",)
