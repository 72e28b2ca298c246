"""Functions of a user's own as text encoders, some of them wrong."""

import jax.numpy as jnp
import numpy as np


def lengths(texts):
    """The numbers of characters and of words."""
    return np.array([[len(text), len(text.split())] for text in texts], np.float64)


def words(texts):
    return [np.array([[len(word), 1, 2] for word in text.split()], np.float16) for text in texts]


def in_jax(texts):
    return jnp.ones((len(texts), 3), jnp.bfloat16)


in_jax.version = 7


def too_few(texts):
    return np.zeros((len(texts) - 1, 3))


def not_finite(texts):
    return [np.array([1.0, np.nan]) for _ in texts]


def too_large(texts):
    return [np.array([1e39]) for _ in texts]


def ragged(texts):
    return [np.ones(2 + index) for index, _ in enumerate(texts)]


def integers(texts):
    return [[1, 2] for _ in texts]


def no_array(texts):
    return 3


def nested_ragged(texts):
    return [[[1.0], [1.0, 2.0]] for _ in texts]


class Callable:
    def __call__(self, texts):
        return lengths(texts)


callable_without_version = Callable()
number = 3
