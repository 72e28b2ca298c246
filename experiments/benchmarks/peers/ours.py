"""The rows of diffax, all through its public functions, as launch.py uses them."""

import contextlib
import dataclasses
import itertools
import pathlib
import tempfile
import types
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffax import build_data, build_training, devices, runs, samplers
from diffax.data.examples import Examples
from diffax.evaluation import Moments, moments
from diffax.evaluation import frechet as frechet_distance
from diffax.networks import upsampling
from diffax.reporting import throughput
from diffax.training.checkpoint import Checkpoints
from experiments import common
from experiments.benchmarks import _cifar_random, checkpoints, data, statistics
from experiments.benchmarks.peers.sizes import Sizes, Work

devices.configure()
devices.enable_compilation_cache()


def device() -> str:
    """The device that computes."""
    return f"{jax.devices()[0].platform} {jax.devices()[0].device_kind}"


def device_memory() -> float | None:
    """The largest memory in use on an accelerator; None on the CPU."""
    return None if jax.default_backend() == "cpu" else throughput.memory_in_use()


def train_step(sizes: Sizes, dtype: str = "float32") -> Work:
    """A training step of configs/cifar_ddpm.py with Adam, clipping and the EMA, without dropout.

    Its operations are those of the plain network, which convolves up-sampled images.
    """
    config, examples, model = _model(sizes, {"model.dtype": dtype})

    def flops() -> float | None:
        plain = runs.Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
        batch = next(build_data.batches(config, examples, 0, plain.mesh))
        with mock.patch.object(upsampling, "upsampled_conv3x3", _plain_upsampled_conv3x3):
            return throughput.flops(plain.lower(batch))

    return dataclasses.replace(_step(config, examples, model), amount=flops, unit="FLOP/s")


def large_train_step(sizes: Sizes, dtype: str) -> Work:
    """A training step of large batches."""
    return train_step(dataclasses.replace(sizes, batch=sizes.large_batch), dtype)


def flow_step(sizes: Sizes, loss: str | None = None) -> Work:
    """A training step of that network as a rectified flow, or as an average velocity by MeanFlow's losses."""
    options = {
        "schedule": "flow",
        "parameterization": "flow",
        "loss.weighting": "flow",
        "loss.time_density": "logit_normal",
        "model.time_input": "unscaled",
        "sampler": "euler" if loss is None else "flow_map",
        "sampler.num_steps": 1,
        "sampler.grid": "uniform",
    }
    return _step(*_model(sizes, options if loss is None else {"loss.name": loss, **options}))


def forward(sizes: Sizes, dtype: str = "float32") -> Work:
    """The network's prediction for a batch."""
    _, _, model = _model(sizes, {"model.dtype": dtype})
    network, params = jax.jit(model.network), model.init_params(jax.random.key(0))
    x, t = jnp.ones((sizes.batch, 32, 32, 3)), jnp.full(sizes.batch, 500.0)
    return Work(lambda: network(params, x, t), finish=jax.block_until_ready)


def ddim(sizes: Sizes, part: str = "all") -> Work:
    """Samples by DDIM; or the evaluations of the network that this takes ("network"), or all but these ("rest")."""
    if part == "network":
        once = forward(dataclasses.replace(sizes, batch=sizes.sample_batch))
        return Work(
            lambda: [jax.block_until_ready(once.call()) for _ in range(sizes.steps_few)],
            prepare=lambda: jax.block_until_ready(once.call()),
        )
    return _sampling(sizes, sizes.steps_few, samplers.ddim, without_network=part == "rest")


def ddpm(sizes: Sizes) -> Work:
    """Samples by DDPM's ancestral steps."""
    return _sampling(sizes, sizes.steps_all, samplers.ddpm)


def checkpoint(sizes: Sizes, restore: bool = False) -> Work:
    """A checkpoint of parameters, Adam's moments and the EMA of configs/cifar_ddpm.py, until it is written or read."""
    state, steps, stack = checkpoints.random_state(), itertools.count(), contextlib.ExitStack()
    stored = stack.enter_context(Checkpoints(stack.enter_context(tempfile.TemporaryDirectory())))

    def save() -> None:
        stored.save(next(steps), state)
        stored.wait()

    def read() -> None:
        jax.block_until_ready(stored.restore_newest(state))

    save()
    return Work(read if restore else save, close=stack.close)


def loader(sizes: Sizes) -> Work:
    """Batches of 128 decoded from PNG files by two processes, flipped at random."""
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # grain passes absl's flags to its workers
    stack = contextlib.ExitStack()
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    data.write_files(folder, sizes.images // data.NUM_COPIES)
    config = data.make_config(folder, cache_gb=0.0, workers=data.WORKERS)
    stream, preprocessed = stack.enter_context(data.running(config))
    count = max(sizes.images // data.BATCH // 10, 1)

    def read() -> None:
        for step, batch in enumerate(itertools.islice(stream, count)):
            preprocessed(batch, step).block_until_ready()

    return Work(read, amount=count * data.BATCH, unit="images/s", close=stack.close)


def frechet(sizes: Sizes) -> Work:
    """Means and covariances of features that come in shards, and their Frechet distance."""
    of_shards = [*statistics.shards(2, sizes.features, sizes.width)]
    reference = statistics.reference_moments(sizes.features, sizes.width)

    def measure() -> None:
        frechet_distance.distance(moments.merged(Moments.of(shard) for shard in of_shards), reference)

    return Work(measure)


def demo(sizes: Sizes) -> Work:
    """`make demo` after installation: configs/digits.py trained from nothing, sampled and evaluated."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            # As after installation: nothing was compiled before.
            common.train("digits", pathlib.Path(folder) / "demo", "--no-compilation_cache", *sizes.demo)

    return Work(run, prepare=lambda: None)


def matrix_product(sizes: Sizes, dtype: str = "float32") -> Work:
    """The ceiling of a matrix product."""
    _start(dtype)
    matrix = _random(dtype, sizes.matrix, sizes.matrix)
    return _ceiling(jnp.matmul, (matrix, matrix), 2.0 * sizes.matrix**3, "FLOP/s")


def convolution(sizes: Sizes, dtype: str = "float32") -> Work:
    """The ceiling of a 3x3 convolution of 128 channels at 32 x 32."""
    _start(dtype)
    x, kernel = _random(dtype, sizes.batch, 32, 32, 128), _random(dtype, 3, 3, 128, 128)
    return _ceiling(_conv3x3, (x, kernel), 2.0 * sizes.batch * 32**2 * 9 * 128**2, "FLOP/s")


def copy(sizes: Sizes) -> Work:
    """The ceiling of reading and writing memory: x + 1."""
    x = jnp.ones(sizes.megabytes * 250_000, jnp.float32)
    return _ceiling(lambda x: x + 1, (x,), 2.0 * x.nbytes, "B/s")


def _start(dtype: str) -> None:
    """The settings of launch.py for networks of this type; before JAX starts."""
    if dtype == "bfloat16" and devices.configure_bfloat16():
        devices.enable_compilation_cache()  # which is off with that flag


def _random(dtype: str, *shape: int) -> jax.Array:
    # Constants can be multiplied faster than other numbers.
    return jax.random.normal(jax.random.key(0), shape, dtype)


def _ceiling(function: Callable[..., jax.Array], inputs: tuple[jax.Array, ...], amount: float, unit: str) -> Work:
    compiled = jax.jit(function)
    return Work(lambda: compiled(*inputs), finish=jax.block_until_ready, amount=amount, unit=unit)


def _plain_upsampled_conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _conv3x3(upsampling.nearest(x), kernel)


def _conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _sampling(
    sizes: Sizes, num_steps: int, method: Callable[..., samplers.SamplerTable], without_network: bool = False
) -> Work:
    """Samples in one compiled call; without_network: by a network that returns its input."""
    _, _, model = _model(sizes)
    params = model.init_params(jax.random.key(0))
    if without_network:
        model = dataclasses.replace(model, network=lambda params, x, *rest, **options: x)
    table = method(model.schedule, samplers.grids.discrete(1000, num_steps, spacing="leading"))
    keys = jax.random.split(jax.random.key(0), sizes.sample_batch)
    x = jax.random.normal(jax.random.key(1), (sizes.sample_batch, *model.data.sample_shape))
    sample = jax.jit(lambda params, table, x, keys: samplers.run(keys, model.denoiser(params), table, x))
    compiled = sample.lower(params, table, x, keys).compile()
    return Work(lambda: np.asarray(compiled(params, table, x, keys)), prepare=lambda: None)


def _step(config: ConfigDict, examples: Examples, model: runs.Model) -> Work:
    """A training step on one device."""
    program = runs.Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    batch, state = next(build_data.batches(config, examples, 0, program.mesh)), program.init_state()
    compiled = program.paced(program.compile(batch)[0])

    def step() -> Any:
        nonlocal state
        state, _ = compiled(state, batch)
        return state

    return Work(step, finish=jax.block_until_ready, parameters=program.num_params)


def _model(
    sizes: Sizes, further: Mapping[str, Any] = types.MappingProxyType({})
) -> tuple[ConfigDict, Examples, runs.Model]:
    """configs/cifar_ddpm.py on random images, of these sizes, without dropout and with further settings."""
    _start(further.get("model.dtype", "float32"))
    # In the same place at every start, as a user's data are: what is compiled is kept for one configuration.
    path = devices.cache_directory() / "benchmarks" / "images.npy"
    network = {
        "model.channels": sizes.channels,
        "model.channel_multipliers": sizes.multipliers,
        "model.num_res_blocks": sizes.blocks,
    }
    config = _cifar_random.config(path, sizes.batch, network | further)
    examples = build_data.dataset(config, "train")
    return config, examples, runs.Model.build(config, runs.DataDescription.of(config, examples))


ROWS: dict[str, Callable[..., Work]] = {
    "train_step": train_step,
    "large_train_step": large_train_step,
    "flow_step": flow_step,
    "forward": forward,
    "ddim": ddim,
    "ddpm": ddpm,
    "checkpoint": checkpoint,
    "loader": loader,
    "frechet": frechet,
    "demo": demo,
    "matrix_product": matrix_product,
    "convolution": convolution,
    "copy": copy,
}
