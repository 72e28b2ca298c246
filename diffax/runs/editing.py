"""Inversion, editing and interpolation of images with a trained model, along its probability-flow ODE.

An image is inverted under its own condition, without guidance, to the noise level that a strength sets, and generated
from there under another condition with the run's guidance (dual diffusion implicit bridges, arXiv:2203.08382).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Float

from diffax import build_sampler, samplers, sharding
from diffax.conditions import Conditions
from diffax.runs import trajectory
from diffax.runs.errors import UserError, for_people
from diffax.runs.trained import Trained


@dataclasses.dataclass(frozen=True, eq=False)
class Edit:
    """Images, and what was made of them; in the network's range, [-1, 1] for images.

    reconstruction: generated from the latents under the own condition.
    latents: the states at the noise level of the strength.
    states: on the way from the latents to the edited images, divided by sqrt(alpha^2 + sigma^2), so that noise has the
      scale of data under every schedule; the first are the latents, and the last the edited images.
    """

    original: Float[np.ndarray, "batch *dims"]
    reconstruction: Float[np.ndarray, "batch *dims"]
    latents: Float[np.ndarray, "batch *dims"]
    states: Float[np.ndarray, "saved batch *dims"]

    @property
    def edited(self) -> Float[np.ndarray, "batch *dims"]:
        """The edited images."""
        return self.states[-1]

    @property
    def error(self) -> Float[np.ndarray, " batch"]:
        """The mean absolute error of each reconstruction, in the network's units (the range of images is 2)."""
        difference = np.abs(self.reconstruction - self.original)
        return difference.reshape(len(difference), -1).mean(axis=1)


def edit(
    model: Trained,
    x: np.ndarray,
    source: Conditions,
    target: Conditions,
    *,
    strength: float = 1.0,
    num_states: int = 6,
    batch_size: int | None = None,
    average: int | str | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Edit:
    """Inverts images under `source`, and generates from there under `source` and under `target`, by config.sampler.

    Inversion and reconstruction use no guidance, thresholding or epsilon scaling; the edit has those of config.sampler.
    Each of the three takes config.sampler.num_steps steps. Of several processes all have to call it.

    Args:
      x: (batch, *sample_shape) in the network's range.
      source, target: values of conditions by name, of one row or one for each image; {} for none.
      strength: in (0, 1], see samplers.inversion_times: 1 inverts to noise, less keeps more of the image.
      num_states: about how many states on the way are kept, beside the latents and the result.
      batch_size: images at once, on all devices together; None for all.
      report: called with the number of images done, after every batch.

    Raises:
      UserError: a strength outside (0, 1], or a sampler that cannot invert.
      FloatingPointError: results that are not finite.
    """
    plain = without_guidance(model)
    up, down = tables(plain, strength)
    size = -(-min(batch_size or len(x), len(x)) // model.mesh.size) * model.mesh.size
    values = np.asarray(x, np.float32), rows(source, len(x)), rows(target, len(x))
    save_every, parts = -(-down.num_evaluations // (num_states + 1)), list[list[np.ndarray]]()
    for start in range(0, len(x), size):
        batch, own_values, other_values = _placed(model, values, start, size)
        with for_people():
            own = plain.denoiser(average, own_values or None)
            other = model.denoiser(average, other_values or None)
        made = _edited(up, down, own, other, batch, save_every, sharding.replicated(model.mesh))
        parts.append([sharding.to_host(array) for array in made])
        report(min(start + size, len(x)))
    latents, reconstruction = (np.concatenate([part[i] for part in parts])[: len(x)] for i in (0, 1))
    states = np.concatenate([part[2] for part in parts], axis=1)[:, : len(x)]
    _check_finite(down.name, latents, reconstruction, states)
    t = np.asarray(down.times, np.float64)[[0, *range(save_every, down.num_evaluations, save_every)]]
    states = trajectory.scaled(model, t, np.concatenate([latents[None], states]))
    return Edit(values[0], reconstruction, latents, states)


def between(
    model: Trained,
    ends: np.ndarray,
    num: int,
    condition: Conditions,
    *,
    average: int | str | None = None,
) -> Float[np.ndarray, "num *dims"]:
    """`num` images from one to another: spherical interpolation of their latents, generated without guidance.

    Args:
      ends: the two images, (2, *sample_shape) in the network's range. Each is inverted under the condition, and the
        first and last results are their reconstructions.
      condition: values of conditions by name, of one row; {} for none.

    Raises:
      UserError: a sampler that cannot invert.
      FloatingPointError: results that are not finite.
    """
    plain = without_guidance(model)
    up, down = tables(plain)
    x, told = sharding.from_copies(sharding.replicated(model.mesh), (np.asarray(ends), rows(condition, 2)))
    with for_people():
        denoiser = plain.denoiser(average, told or None)
    latents = _run(up, denoiser, x)
    return _generated(plain, down, latents, num, condition, average)


def between_seeds(
    model: Trained,
    seeds: tuple[int, int],
    num: int,
    condition: Conditions,
    *,
    average: int | str | None = None,
) -> Float[np.ndarray, "num *dims"]:
    """`num` samples by config.sampler from spherical interpolation between the initial noise of two seeds.

    The first and last are sample 0 of `Trained.draw` for these seeds under the condition.

    Raises:
      UserError: a stochastic sampler.
      FloatingPointError: results that are not finite.
    """
    table = model.model.sampler_table()
    if table.is_stochastic:
        raise UserError(f"interpolation needs a deterministic sampler, and {table.name} adds noise: use --sampler ddim")
    first = np.zeros(1, np.int32)
    latents = np.concatenate([model.initial_noise(first, seed=seed) for seed in seeds]) * np.float32(table.prior_std)
    placed = sharding.from_copies(sharding.replicated(model.mesh), latents)
    return _generated(model, table, placed, num, condition, average)


def without_guidance(model: Trained) -> Trained:
    """The model without guidance, thresholding and epsilon scaling: its probability-flow ODE as it was learned."""
    return model.with_sampler(guidance="none", thresholding="none", epsilon_scale=1.0)


def tables(model: Trained, strength: float = 1.0) -> tuple[samplers.SamplerTable, samplers.SamplerTable]:
    """config.sampler from data to the noise level of a strength, and back.

    Raises:
      UserError: a strength outside (0, 1], or a sampler that cannot invert.
    """
    part = model.model
    with for_people():
        return build_sampler.inversion_tables(part.config, part.schedule, part.parameterization, strength)


def rows(values: Conditions, num: int) -> Conditions:
    """Values of one row repeated for `num` examples; values of `num` rows as they are."""

    def of(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return np.repeat(leaf, num, axis=0) if len(leaf) == 1 else leaf

    return jax.tree.map(of, values)


def _placed(model: Trained, values: Any, start: int, size: int) -> Any:
    """The rows start .. start + size of arrays, filled up with copies of the last, on the devices of the mesh."""

    def of(leaf: np.ndarray) -> np.ndarray:
        return leaf[np.minimum(np.arange(start, start + size), len(leaf) - 1)]

    return sharding.from_copies(sharding.batch_sharding(model.mesh), jax.tree.map(of, values))


def _generated(
    model: Trained, table: samplers.SamplerTable, latents: jax.Array, num: int, condition: Conditions, average: Any
) -> np.ndarray:
    """What a table makes of `num` points between two latents."""
    everywhere = sharding.replicated(model.mesh)
    share, told = sharding.from_copies(everywhere, (np.linspace(0, 1, num, dtype=np.float32), rows(condition, num)))
    with for_people():
        denoiser = model.denoiser(average, told or None)
    first, last = (jnp.repeat(latents[i : i + 1], num, axis=0) for i in (0, 1))
    made = sharding.to_host(_run(table, denoiser, samplers.slerp(first, last, share)))
    _check_finite(table.name, made)
    return made


def _check_finite(sampler: str, *made: np.ndarray) -> None:
    if not all(np.isfinite(array).all() for array in made):
        raise FloatingPointError(f"results are not finite: the parameters or the sampler ({sampler}) diverge")


@jax.jit
def _run(table: Any, denoiser: Any, x: jax.Array) -> jax.Array:
    return samplers.run(None, denoiser, table, x)


@functools.partial(jax.jit, static_argnums=(5, 6))
def _edited(
    up: Any, down: Any, own: Any, other: Any, x: jax.Array, save_every: int, everywhere: NamedSharding
) -> tuple[jax.Array, ...]:
    """(latents, reconstruction, states of the edit)."""
    latents = samplers.run(None, own, up, x)
    reconstruction = samplers.run(None, own, down, latents)
    _, states = samplers.run(None, other, down, latents, save_every=save_every)
    return jax.lax.with_sharding_constraint((latents, reconstruction, states), everywhere)
