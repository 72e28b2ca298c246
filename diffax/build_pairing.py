"""Pairs of noise and example: couplings of a batch and stored pairs, from their configuration; part of build."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from diffax import arrays, build_conditions, choices, conditions, data, training
from diffax.choices import Slot
from diffax.data.examples import Examples


def _independent() -> None:
    return None


COUPLINGS: dict[str, Callable[..., training.coupling.Coupling | None]] = {
    "none": _independent,
    "exact": training.coupling.Exact,
    "sinkhorn": training.coupling.Sinkhorn,
}
COUPLING_SLOT = Slot(COUPLINGS)


def coupling(config: ConfigDict, examples: Examples) -> Callable[[jax.Array, training.Batch], jax.Array] | None:
    """config.train.coupling: (keys, a preprocessed batch) to the noise of every example; None for independent noise.

    Raises:
      ValueError: conditions that are no classes, or stable targets.
    """
    chosen = choices.make("train.coupling", config.train.coupling, COUPLING_SLOT)
    if chosen is None:
        return None
    setting, kinds = f"train.coupling = {config.train.coupling.name!r}", build_conditions.kinds(config, examples)
    other = [key for key, kind in kinds.items() if not isinstance(kind, conditions.Classes)]
    if other:
        raise ValueError(
            f"{setting} exchanges noise within a class, and the condition {other[0]!r} is no class: its noise would "
            "depend on it, but samples start from N(0, I); set train.coupling=none"
        )
    if config.noise.name != "normal":
        raise ValueError(f"{setting} pairs normal noise, got noise {config.noise.name!r}: set train.coupling=none")
    if config.loss.stable_targets:
        raise ValueError(
            f"loss.stable_targets is the target of independent pairs, which {setting} does not make: unset one of them"
        )

    def run(keys: jax.Array, batch: training.Batch) -> jax.Array:
        noise_keys, own_keys = arrays.split_keys(keys, 2)
        x = arrays.at_least_float32(batch["x"])
        same = [batch[key][:, None] == batch[key][None] for key in kinds]
        allowed = functools.reduce(jnp.logical_and, same) if same else None
        return chosen(own_keys, x, arrays.normal_like(noise_keys, x), allowed)

    return run


def check_pairs(config: ConfigDict, examples: Examples) -> None:
    """Raises ValueError for settings that break stored pairs of noise and sample, or that need such pairs."""
    if not data.pairs.have_noise(examples):
        if config.loss.time_density.name == "fixed":
            raise ValueError(
                "loss.time_density = 'fixed' trains one step from noise to data, which needs pairs: make them by "
                "--mode reflow, and train with data.name=pairs"
            )
        return
    for setting, is_set in {
        f"data.augment = {config.data.augment.name!r}": config.data.augment.name != "none",
        "data.dequantize": config.data.dequantize,
        "loss.stable_targets": config.loss.stable_targets,
        f"train.coupling = {config.train.coupling.name!r}": config.train.coupling.name != "none",
    }.items():
        if is_set:
            raise ValueError(
                f"{setting} would break the pairs of {examples.name}, noise and sample of one ODE: unset it"
            )
