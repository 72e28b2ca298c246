"""The one loop that runs every table."""

from typing import NamedTuple, overload

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.brownian import Noise
from diffax.samplers.table import SamplerTable
from diffax.typing import Denoiser, Keys

Sample = Float[jax.Array, "batch *dims"]


class _Carry(NamedTuple):
    """anchor is None where the table has no use for it; histories are newest first, without the present."""

    anchor: Sample | None
    query: Sample
    x_0: tuple[Sample, ...]
    eps: tuple[Sample, ...]
    saved: jax.Array | None


def prior(table: SamplerTable, keys: Keys, shape: tuple[int, ...]) -> Sample:
    """What to start `run` from: noise of the table's prior_std, one sample of `shape` per key."""
    noise = arrays.normal_like(_noise_keys(keys, -1), jnp.zeros((keys.shape[0], *shape)))
    return noise * jnp.asarray(table.prior_std, noise.dtype)


@overload
def run(
    table: SamplerTable,
    denoiser: Denoiser,
    x: Sample,
    keys: Keys | None = None,
    *,
    save_every: None = None,
    noise: Noise | None = None,
) -> Sample: ...


@overload
def run(
    table: SamplerTable,
    denoiser: Denoiser,
    x: Sample,
    keys: Keys | None = None,
    *,
    save_every: int,
    noise: Noise | None = None,
) -> tuple[Sample, Float[jax.Array, "saved batch *dims"]]: ...


def run(
    table: SamplerTable,
    denoiser: Denoiser,
    x: Sample,
    keys: Keys | None = None,
    *,
    save_every: int | None = None,
    noise: Noise | None = None,
) -> Sample | tuple[Sample, Float[jax.Array, "saved batch *dims"]]:
    """Runs a table from x, the state at its first time, and returns the result after its last row.

    A lax.scan over rows: one compiled body, memory independent of the number of rows. Sample i depends on x[i] and
    keys[i] alone. Everything is computed in x's dtype.

    Args:
      x: (batch, *dims); `prior` draws one.
      keys: (batch,) typed keys, one per sample; needed if the table is stochastic.
      noise: (keys, row, x) to standard normal noise of x's shape, in the place of independent noise for every row:
        samplers.brownian gives that of one path.
      save_every: also return the states after every so many rows and after the last, stacked in front.

    Raises:
      ValueError: keys missing or not one per sample, save_every < 1.
    """
    _check(table, x, keys, save_every)
    if table.initial_noise is not None:
        x = x + jnp.asarray(table.initial_noise, x.dtype) * arrays.normal_like(_noise_keys(keys, -2), x)
    rows = table.num_evaluations
    num_saved = 0 if save_every is None else -(-rows // save_every)
    columns = {
        name: jnp.asarray(getattr(table, name), x.dtype)
        for name in ("times", "a", "b", "e", "c", "p", "q", "r", "d")
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
        return _step(denoiser, carry, row, keys, save_every, noise or _independent), None

    carry, _ = jax.lax.scan(body, carry, columns)
    return carry.query if carry.saved is None else (carry.query, carry.saved)


def _step(
    denoiser: Denoiser,
    carry: _Carry,
    row: dict[str, jax.Array],
    keys: Keys | None,
    save_every: int | None,
    noise_of: Noise,
) -> _Carry:
    """One row: call the denoiser, combine, remember."""
    prediction = denoiser(carry.query, row["times"])
    x_0, eps = (prediction.x_0, *carry.x_0), (prediction.eps, *carry.eps)
    noise = noise_of(keys, row["row"], carry.query) if "c" in row or "d" in row else None

    before = carry.query if carry.anchor is None else carry.anchor
    anchor = _combine(row, "a", before, [("b", x_0), ("e", eps)], "c", noise)
    query = anchor
    if carry.anchor is not None:
        query = _combine(row, "p", anchor, [("q", x_0), ("r", eps)], "d", noise)

    saved = carry.saved
    if saved is not None and save_every is not None:
        # Overwritten until the last row of its group: one buffer, no second copy of the body.
        saved = jax.lax.dynamic_update_index_in_dim(saved, query, row["row"] // save_every, 0)
    return _Carry(
        anchor=None if carry.anchor is None else anchor,
        query=query,
        x_0=_pushed(row, x_0, carry.x_0),
        eps=_pushed(row, eps, carry.eps),
        saved=saved,
    )


def _combine(
    row: dict[str, jax.Array],
    own: str,
    state: Sample,
    histories: list[tuple[str, tuple[Sample, ...]]],
    noisy: str,
    noise: Sample | None,
) -> Sample:
    """row[own] state + the weighted histories + row[noisy] noise, leaving out what the table does not have."""
    terms = [row[own] * state] if own in row else []
    for name, history in histories:
        if name in row:
            terms += [row[name][k] * past for k, past in enumerate(history[: row[name].shape[0]])]
    if noisy in row and noise is not None:
        terms.append(row[noisy] * noise)
    return sum(terms[1:], start=terms[0]) if terms else jnp.zeros_like(state)


def _pushed(row: dict[str, jax.Array], now: tuple[Sample, ...], before: tuple[Sample, ...]) -> tuple[Sample, ...]:
    after = now[: len(before)]
    if "push" in row:
        after = tuple(jnp.where(row["push"], new, old) for new, old in zip(after, before, strict=True))
    return after


def _empty_history(x: Sample, *columns) -> tuple[Sample, ...]:
    depth = max((column.shape[-1] for column in columns if column is not None), default=0)
    return (jnp.zeros_like(x),) * max(depth - 1, 0)


def _independent(keys: Keys | None, row: jax.Array, like: Sample) -> Sample:
    return arrays.normal_like(_noise_keys(keys, row), like)


def _noise_keys(keys: Keys | None, row: int | jax.Array) -> Keys:
    """The keys of row's noise; -1 is the prior, -2 the noise before row 0."""
    return jax.vmap(lambda key: jax.random.fold_in(key, jnp.asarray(row) + 2))(keys)


def check_keys(keys: Keys, x: Sample) -> None:
    """Raises ValueError unless there is one key per sample."""
    if keys.shape != x.shape[:1]:
        raise ValueError(f"expected one key per sample, shape {x.shape[:1]}, got keys of shape {keys.shape}")


def _check(table: SamplerTable, x: Sample, keys: Keys | None, save_every: int | None) -> None:
    if keys is None and table.is_stochastic:
        raise ValueError(f"{table.name} is stochastic: give keys, one per sample, as jax.random.split(key, batch)")
    if keys is not None:
        check_keys(keys, x)
    if save_every is not None and save_every < 1:
        raise ValueError(f"save_every must be >= 1, got {save_every}")
