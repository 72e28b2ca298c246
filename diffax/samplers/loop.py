"""The sampling loop: one lax.scan that runs every sampler table."""

from typing import NamedTuple, overload

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.samplers._brownian import Noise
from diffax.samplers.table import SamplerTable
from diffax.typing import Denoiser, Keys, Prediction

Sample = Float[jax.Array, "batch *dims"]


class _Carry(NamedTuple):
    """The state of the scan. anchor is None where query = anchor; x_0 and eps are the histories, newest first."""

    anchor: Sample | None
    query: Sample
    x_0: tuple[Sample, ...]
    eps: tuple[Sample, ...]
    saved: jax.Array | None


def prior(
    keys: Keys,
    table: SamplerTable,
    shape: tuple[int, ...],
    *,
    noise: processes.Noise = processes.NORMAL,
) -> Sample:
    """Draws the initial state of a sampler, (batch, *shape): noise times the table's prior_std.

    Args:
      keys: (batch,) typed keys, one per sample. They may be the keys of `run`: its noise is independent.
      shape: of one sample.
      noise: its law, see processes.noise.

    Raises:
      TypeError: legacy keys, those of jax.random.PRNGKey.
      ValueError: keys not one per sample.
    """
    arrays.check_keys(keys)
    eps = noise.sample(_noise_keys(keys, -1), jnp.zeros((keys.shape[0], *shape)))
    return eps * jnp.asarray(table.prior_std, eps.dtype)


@overload
def run(
    keys: Keys | None,
    denoiser: Denoiser,
    table: SamplerTable,
    x: Sample,
    *,
    save_every: None = None,
    noise: Noise | None = None,
) -> Sample: ...


@overload
def run(
    keys: Keys | None,
    denoiser: Denoiser,
    table: SamplerTable,
    x: Sample,
    *,
    save_every: int,
    noise: Noise | None = None,
) -> tuple[Sample, Float[jax.Array, "saved batch *dims"]]: ...


def run(
    keys: Keys | None,
    denoiser: Denoiser,
    table: SamplerTable,
    x: Sample,
    *,
    save_every: int | None = None,
    noise: Noise | None = None,
) -> Sample | tuple[Sample, Float[jax.Array, "saved batch *dims"]]:
    """Samples: runs a sampler table from the initial state x and returns the result after its last row.

    A lax.scan over the rows, with one denoiser call in its body; compile time and memory do not depend on the number of
    rows. Sample i depends on x[i] and keys[i] alone. State, times and coefficients are float32, or float64 where x is:
    so are what the denoiser is called with and the result, also for an x in bfloat16 or float16.

    Args:
      keys: (batch,) typed keys, one per sample; None for a deterministic table.
      x: (batch, *dims), the state at the table's first time; `prior` draws one.
      save_every: also returns the states after every so many rows and after the last, (saved, batch, *dims).
      noise: a function (keys, row, x) to standard normal noise of x's shape, instead of independent noise for every
        row; samplers.brownian makes one from a Brownian path.

    Raises:
      ValueError: keys missing or not one per sample, save_every < 1, a table with a learned variance (`ancestral`) and
        a denoiser without log_variance_fraction.
      TypeError: a table that is not a SamplerTable, an x of integers, legacy keys (jax.random.PRNGKey).
    """
    _check(keys, table, x, save_every)
    x = arrays.at_least_float32(x)
    if table.initial_noise is not None:
        x = x + jnp.asarray(table.initial_noise, x.dtype) * arrays.normal_like(_noise_keys(keys, -2), x)
    rows = table.num_evaluations
    num_saved = 0 if save_every is None else -(-rows // save_every)
    columns = {
        name: jnp.asarray(getattr(table, name), x.dtype)
        for name in ("times", "targets", "a", "b", "e", "c", "c_large", "p", "q", "r", "d")
        if getattr(table, name) is not None
    }
    if table.push is not None:
        columns["push"] = jnp.asarray(table.push)
    columns["row"] = jnp.arange(rows)
    carry = _Carry(
        anchor=None if table.p is None else x,
        query=x,
        x_0=_empty_history(x, table.b, table.q),
        eps=_empty_history(x, table.e, table.r),
        saved=jnp.zeros((num_saved, *x.shape), x.dtype) if num_saved else None,
    )

    def body(carry: _Carry, row: dict[str, jax.Array]) -> tuple[_Carry, None]:
        return _step(keys, denoiser, carry, row, save_every, noise or _independent), None

    carry, _ = jax.lax.scan(body, carry, columns)
    return carry.query if carry.saved is None else (carry.query, carry.saved)


def _step(
    keys: Keys | None,
    denoiser: Denoiser,
    carry: _Carry,
    row: dict[str, jax.Array],
    save_every: int | None,
    noise_of: Noise,
) -> _Carry:
    """One row: calls the denoiser, updates anchor and query, and pushes the prediction onto the history."""
    times = (row["times"], row["targets"]) if "targets" in row else (row["times"],)
    prediction = _in_dtype(denoiser(carry.query, *times), carry.query.dtype)
    x_0, eps = (prediction.x_0, *carry.x_0), (prediction.eps, *carry.eps)
    noise = noise_of(keys, row["row"], carry.query) if "c" in row or "d" in row else None
    if "c_large" in row:
        row = row | {"c": _learned_std(row, prediction)}

    before = carry.query if carry.anchor is None else carry.anchor
    anchor = _combine(row, "a", before, [("b", x_0), ("e", eps)], "c", noise)
    query = anchor
    if carry.anchor is not None:
        query = _combine(row, "p", anchor, [("q", x_0), ("r", eps)], "d", noise)

    saved = carry.saved
    if saved is not None and save_every is not None:
        # Each slot is overwritten until the last row of its group, which avoids a second copy of the scan's body.
        saved = jax.lax.dynamic_update_index_in_dim(saved, query, row["row"] // save_every, 0)
    return _Carry(
        anchor=None if carry.anchor is None else anchor,
        query=query,
        x_0=_pushed(row, x_0, carry.x_0),
        eps=_pushed(row, eps, carry.eps),
        saved=saved,
    )


def _in_dtype(prediction: Prediction, dtype: jnp.dtype) -> Prediction:
    """The prediction in the state's dtype; a denoiser may answer in a narrower one."""
    return jax.tree.map(lambda part: part.astype(dtype), prediction)


def _learned_std(row: dict[str, jax.Array], prediction: Prediction) -> Sample:
    """The standard deviation c^(1 - v) c_large^v of a learned variance, 0 where c = 0."""
    v = prediction.log_variance_fraction
    if v is None:
        raise ValueError(
            "ancestral needs a denoiser whose prediction has a log_variance_fraction, that of a network with a learned "
            "variance; without one, use ddpm"
        )
    small, large = row["c"], row["c_large"]
    return jnp.where(small > 0, small * (large / jnp.where(small > 0, small, 1)) ** v, 0)


def _combine(
    row: dict[str, jax.Array],
    own: str,
    state: Sample,
    histories: list[tuple[str, tuple[Sample, ...]]],
    noisy: str,
    noise: Sample | None,
) -> Sample:
    """row[own] state + the weighted histories + row[noisy] noise, without the columns that the table does not have."""
    terms = [row[own] * state] if own in row else []
    for name, history in histories:
        if name in row:
            terms += [row[name][k] * past for k, past in enumerate(history[: row[name].shape[0]])]
    if noisy in row and noise is not None:
        terms.append(row[noisy] * noise)
    return sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(state)


def _pushed(row: dict[str, jax.Array], now: tuple[Sample, ...], before: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The history after a row: with the newest prediction in front, unless the row declines to push it."""
    after = now[: len(before)]
    if "push" in row:
        after = tuple(jnp.where(row["push"], new, old) for new, old in zip(after, before, strict=True))
    return after


def _empty_history(x: Sample, *columns) -> tuple[Sample, ...]:
    """Zeros for the predictions before row 0, as many as the columns look back to."""
    depth = max((column.shape[-1] for column in columns if column is not None), default=0)
    return (jnp.zeros_like(x),) * max(depth - 1, 0)


def _independent(keys: Keys | None, row: jax.Array, like: Sample) -> Sample:
    return arrays.normal_like(_noise_keys(keys, row), like)


def _noise_keys(keys: Keys | None, row: int | jax.Array) -> Keys:
    """The keys of a row's noise; row -1 is the prior, row -2 the noise before row 0."""
    return jax.vmap(lambda key: jax.random.fold_in(key, jnp.asarray(row) + 2))(keys)


def _check(keys: Keys | None, table: SamplerTable, x: Sample, save_every: int | None) -> None:
    if not isinstance(table, SamplerTable):
        raise TypeError(f"run takes (keys, denoiser, table, x), got {type(table).__name__} for the table")
    if keys is None and table.is_stochastic:
        raise ValueError(f"{table.name} is stochastic: give keys, one per sample, as jax.random.split(key, batch)")
    if keys is not None:
        arrays.check_keys(keys, x.shape[:1])
    if save_every is not None and save_every < 1:
        raise ValueError(f"save_every must be >= 1, got {save_every}")
