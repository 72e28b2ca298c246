"""The checks of jaxtyping's annotations, which every test runs under, switched off where they were made before."""

import contextlib
from collections.abc import Iterator

import jaxtyping


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Annotations are not checked, as outside of the tests.

    A check takes about 30 microseconds a call. A loop over hundreds of steps in NumPy that has run with checks before,
    over fewer steps, needs no others: types do not depend on the number of steps.
    """
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
