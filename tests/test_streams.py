"""Streams of random numbers: no two uses may share a draw."""

import jax
import numpy as np

from diffax import streams


def numbers():
    return {name: value for name, value in vars(streams).items() if name.isupper()}


def test_streams_are_distinct_numbers():
    assert {"INIT", "TRAIN", "EVALUATE", "SAMPLE", "PREPROCESS"} <= set(numbers())
    assert all(type(value) is int and 0 <= value < 2**32 for value in numbers().values())
    assert len(set(numbers().values())) == len(numbers())


def test_streams_are_distinct_keys():
    key = jax.random.key(0)
    keys = [jax.random.key_data(jax.random.fold_in(key, value)) for value in numbers().values()]
    assert len(np.unique(np.stack([*keys, jax.random.key_data(key)]), axis=0)) == len(keys) + 1
