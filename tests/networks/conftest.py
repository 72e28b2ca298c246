"""What the tests of networks share: parameters that are zero nowhere, and quick compilation."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks

# Compiling is nearly all that these tests do: without LLVM's optimisation it takes half the time.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _draw_params(module: nn.Module, sample_shape: tuple[int, ...], scale: float = 0.2) -> Any:
    shapes = jax.eval_shape(lambda key: networks.Linen(module).init(key, sample_shape), jax.random.key(0))
    draw = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(scale * draw.standard_normal(leaf.shape), leaf.dtype), shapes)


@pytest.fixture
def draw_params() -> Callable[..., Any]:
    """(module, sample_shape) -> Gaussian numbers as parameters: layers that start at zero then hide nothing."""
    return _draw_params


@pytest.fixture
def jit() -> Callable[..., Any]:
    """jax.jit for functions that are called once."""
    return quick_jit
