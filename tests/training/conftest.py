"""Optax multiplies floats by integer step counts, which strict promotion refuses."""

import jax
import pytest


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield
