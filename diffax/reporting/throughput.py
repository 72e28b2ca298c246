"""How fast a run is, beside how fast the device could be."""

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def rates(steps_per_second: float, batch_size: int, flops_per_step: float | None, ceiling: float) -> dict[str, float]:
    """The metrics steps_per_second, images_per_second, flops_utilization (the share of the ceiling) and memory_gb.

    Args:
      flops_per_step: operations of a step, as by `flops`; None if unknown.
      ceiling: operations per second of a matrix product (`matmul_flops`).
    """
    values = {"steps_per_second": steps_per_second, "images_per_second": steps_per_second * batch_size}
    if flops_per_step:
        values["flops_utilization"] = steps_per_second * flops_per_step / ceiling
    memory = memory_in_use()
    return values if memory is None else values | {"memory_gb": memory / 1e9}


def matmul_flops(dtype: DTypeLike = jnp.float32, *, size: int | None = None, num_trials: int = 5) -> float:
    """Operations per second of the device multiplying two square matrices, the best of some trials.

    size: of their sides; one that takes an accelerator milliseconds, and a processor not much longer, by default.
    """
    size = size or (1024 if jax.default_backend() == "cpu" else 8192)
    product = jax.jit(jnp.matmul)
    matrix = jnp.full((size, size), 1 / size, dtype)
    jax.block_until_ready(product(matrix, matrix))
    seconds = []
    for _ in range(num_trials):
        start = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def flops(lowered: Any) -> float | None:
    """Operations of a program that jit has lowered, as written, before it is compiled.

    A loop's body counts once. What is rematerialised counts again, whether the compiler computes it again or not.
    """
    analysis = lowered.cost_analysis()
    return None if not analysis else analysis.get("flops")


def memory_in_use() -> float | None:
    """Bytes: the peak of the first device where it tells, else that of this process; None on systems without."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
