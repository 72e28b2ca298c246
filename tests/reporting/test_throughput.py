import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.reporting import throughput


def test_what_is_said_of_a_rate():
    values = throughput.rates(2.0, batch_size=4, flops_per_step=10.0, ceiling=100.0)
    memory = values.pop("memory_gb")
    assert values == {"steps_per_second": 2.0, "images_per_second": 8.0, "flops_utilization": 0.2}
    assert 0.01 < memory < 1000
    assert "flops_utilization" not in throughput.rates(2.0, 4, None, 100.0)


def test_operations_of_a_program_before_it_is_compiled():
    """n m k multiplications and as many additions; a loop's body once."""
    a, b = jnp.ones((30, 40)), jnp.ones((40, 20))
    assert throughput.flops(jax.jit(jnp.matmul).lower(a, b)) == pytest.approx(2 * 30 * 40 * 20, rel=0.01)
    square = jnp.ones((64, 64))
    loop = jax.jit(lambda a: jax.lax.scan(lambda c, _: (c @ a, None), a, length=7)[0])
    assert throughput.flops(loop.lower(square)) == pytest.approx(2 * 64**3, rel=0.01)


def test_programs_for_platforms_that_do_not_count_are_counted_all_the_same(monkeypatch):
    """A client that comes as a plug-in, as CUDA's, says nothing: Lowered.cost_analysis() is None."""
    lowered = jax.jit(jnp.matmul).lower(jnp.ones((30, 40)), jnp.ones((40, 20)))
    monkeypatch.setattr(jax.stages.Lowered, "cost_analysis", lambda self: None)
    assert throughput.flops(lowered) == pytest.approx(2 * 30 * 40 * 20, rel=0.01)


def test_the_ceiling_is_that_of_the_fastest_product(monkeypatch):
    """2 n^3 operations in the shortest of the times that a clock shows."""
    ticks = iter([0.0, 3.0, 10.0, 12.5, 20.0, 24.0])
    with monkeypatch.context() as patched:
        patched.setattr(throughput.time, "perf_counter", lambda: next(ticks))
        assert throughput.matmul_flops(size=64, num_trials=3) == 2 * 64**3 / 2.5


def test_the_ceiling_is_a_rate_of_products_that_were_waited_for():
    """Within a factor of 10 of what NumPy is given to read; a product that is only started is 100 times as fast."""
    size, matrix = 768, jnp.full((768, 768), 0.5)
    product, seconds = jax.jit(jnp.matmul), []
    for _ in range(6):
        start = time.perf_counter()
        np.asarray(product(matrix, matrix))
        seconds.append(time.perf_counter() - start)
    assert 0.1 < throughput.matmul_flops(size=size) / (2 * size**3 / min(seconds)) < 10
