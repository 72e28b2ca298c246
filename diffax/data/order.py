"""Shuffling: the order in which examples are visited, a new permutation every epoch, a function of (seed, position).

Positions count examples from the start of training. Epoch e is positions e n .. e n + n - 1 and holds each of the n
examples once. The shuffle sorts raw PCG64 output, which NumPy promises never to change (its Generator methods may
change), so that a run resumed under another NumPy continues in the same order. Grain's shuffle is slower: for small
datasets it takes 20 us an index (it walks a cipher over 65,536 values), fifty times as long as the gather itself.
"""

import functools

import numpy as np
from jaxtyping import Int64


@functools.lru_cache(maxsize=4)
def epoch(num_examples: int, seed: int, index: int) -> Int64[np.ndarray, " num_examples"]:
    """The permutation of 0 .. num_examples - 1 visited in epoch `index`.

    The array is cached and therefore read-only.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index,)))
    permutation = np.argsort(bits.random_raw(num_examples), kind="stable")
    permutation.flags.writeable = False
    return permutation


def indices(num_examples: int, seed: int, start: int, stop: int) -> Int64[np.ndarray, " positions"]:
    """The indices of the examples at positions start .. stop - 1, which may span several epochs."""
    epochs = range(start // num_examples, (stop - 1) // num_examples + 1)
    first = epochs.start * num_examples
    return np.concatenate([epoch(num_examples, seed, e) for e in epochs])[start - first : stop - first]
