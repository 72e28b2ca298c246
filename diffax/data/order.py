"""The order in which examples are visited: a new shuffle every epoch, a pure function of (seed, position).

Positions count examples from the start of training; epoch e is positions e n .. e n + n - 1 and holds each of the n
examples once. The shuffle sorts raw PCG64 output, which NumPy promises never to change (its Generator methods may),
so that a run resumed under another NumPy goes on in the same order. Grain's shuffle would do, but takes 20 us an index
for small datasets (it walks a cipher over 65,536 values), more than the gather itself by a factor of fifty.
"""

import functools

import numpy as np
from jaxtyping import Int64


@functools.lru_cache(maxsize=4)
def epoch(num_examples: int, seed: int, index: int) -> Int64[np.ndarray, " num_examples"]:
    """The permutation of 0 .. num_examples - 1 visited in epoch `index`; read-only, as it is shared with the cache."""
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index,)))
    permutation = np.argsort(bits.random_raw(num_examples), kind="stable")
    permutation.flags.writeable = False
    return permutation


def indices(num_examples: int, seed: int, start: int, stop: int) -> Int64[np.ndarray, " positions"]:
    """The examples at positions start .. stop - 1, from as many epochs as those cover."""
    epochs = range(start // num_examples, (stop - 1) // num_examples + 1)
    first = epochs.start * num_examples
    return np.concatenate([epoch(num_examples, seed, e) for e in epochs])[start - first : stop - first]
