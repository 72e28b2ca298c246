"""Throughput, FLOP utilization and peak memory of a run."""

import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def rates(steps_per_second: float, batch_size: int, flops_per_step: float | None, ceiling: float) -> dict[str, float]:
    """Throughput metrics: steps_per_second, images_per_second, flops_utilization and memory_gb.

    flops_utilization is the achieved FLOP/s as a share of `ceiling`. It is absent if flops_per_step is unknown.
    memory_gb is the peak memory in use, absent if unknown.

    Args:
      flops_per_step: floating-point operations of a training step (`flops`); None if unknown.
      ceiling: FLOP/s of a matrix product on the same devices (`matmul_flops`).
    """
    values = {"steps_per_second": steps_per_second, "images_per_second": steps_per_second * batch_size}
    if flops_per_step:
        values["flops_utilization"] = steps_per_second * flops_per_step / ceiling
    memory = memory_in_use()
    return values if memory is None else values | {"memory_gb": memory / 1e9}


def matmul_flops(dtype: DTypeLike = jnp.float32, *, size: int | None = None, num_trials: int = 5) -> float:
    """Measured matrix-multiplication throughput of the device in FLOP/s, the best of some trials.

    Args:
      size: the side of the two square matrices. The default is 8192 on an accelerator, where a product takes
        milliseconds, and 1024 on a CPU, where it does not take much longer.
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
    """The FLOP count of a lowered jit program, before compilation; None if XLA has no estimate.

    The body of a loop counts once. Rematerialised operations (gradient checkpointing) count each time they are written,
    whether or not the compiler computes them again.
    """
    analysis = lowered.cost_analysis() or _counted_by_cpu_client(lowered)
    return None if not analysis else analysis.get("flops")


def _counted_by_cpu_client(lowered: Any) -> dict[str, float] | None:
    """What XLA counts in a program for CUDA or a TPU, whose clients come as plug-ins and do not count.

    The count is the same for all platforms before compilation. JAX has no public function that takes another client.
    """
    try:
        from jax._src.lib import _jax

        client = jax.devices("cpu")[0].client
        return _jax.hlo_module_cost_analysis(client, lowered.compiler_ir("hlo").as_hlo_module())
    except (ImportError, AttributeError, RuntimeError):  # RuntimeError: JAX_PLATFORMS leaves the CPU out
        return None


def memory_in_use() -> float | None:
    """Peak memory in bytes: of the first device if it reports one, else of this process; None if unknown."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return float(stats["peak_bytes_in_use"])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
