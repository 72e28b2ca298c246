"""Distillation: the run that config.loss.teacher names, as the teacher of a model in training."""

from typing import Any

import jax

from diffax import build_training, sharding, training
from diffax.conditions import SPAN
from diffax.data.fingerprint import differences
from diffax.runs import directory, opening, packing
from diffax.runs.errors import UserError
from diffax.runs.model import Model


def of(model: Model) -> training.Teacher | None:
    """The teacher of a model, None without config.loss.teacher: averaged parameters of its run's newest checkpoint.

    Its guidance scale is config.loss.teacher_guidance, by all conditions of its configuration.

    Raises:
      UserError: a teacher that is not there, one of other data, another schedule or noise, or other conditions, or one
        whose prediction is no velocity.
    """
    path, scale = model.config.loss.teacher, model.config.loss.teacher_guidance
    if path is None:
        return None
    where = f"loss.teacher = {path!r}"
    try:
        found = opening.open(path)
    except UserError as error:
        raise UserError(
            f"{where}: {error}; where it was moved, set loss.teacher and continue by --allow_change=loss.teacher"
        ) from error
    _check(where, model, found.model)
    guided = tuple(name for name in found.config.conditions if name in found.network.conditions)
    if scale != 1 and not guided:
        raise UserError(f"{where} is told no conditions, and guidance needs one: set loss.teacher_guidance=1")
    network = found.network

    def apply(params: Any, *arguments: Any, **options: Any) -> jax.Array:
        return network(packing.unpack(params), *arguments, **options)

    print(f"{where}: step {found.step}, average {found.average_name()!r}", flush=True)
    return training.Teacher(
        packing.pack(jax.tree.map(sharding.to_host, found.params())),
        found.schedule,
        found.parameterization,
        scale,
        apply_fn=apply,
        time_input=found.model.time_input,
        kinds=tuple((name, kind) for name, kind in sorted(network.conditions.items()) if name != SPAN),
        guided=guided if scale != 1 else (),
    )


def _check(where: str, model: Model, teacher: Model) -> None:
    """Raises UserError for a teacher that does not go with a model."""
    own, other = model.data, teacher.data
    changes = [] if own.sample_shape == other.sample_shape else [f"shape: {other.sample_shape} -> {own.sample_shape}"]
    if not changes and own.fingerprint and other.fingerprint:
        changes = differences(other.fingerprint, own.fingerprint)
    if changes:
        raise UserError(f"{where} is a teacher of other data: {'; '.join(changes)}")
    settings = directory.differences(teacher.config, model.config)
    changes = [line for key, line in settings.items() if key.startswith(("schedule.", "noise."))]
    if changes:
        raise UserError(f"{where} was trained on other noise: {'; '.join(changes)}")
    if teacher.config.schedule.name == "learned":
        raise UserError(f"{where} has a learned schedule, which a teacher cannot have")
    if build_training.is_consistency(teacher.config):
        raise UserError(f"{where} predicts data, and no velocity (loss {teacher.config.loss.name!r})")
    kinds = model.network.conditions
    unknown = [name for name, kind in teacher.network.conditions.items() if name != SPAN and kinds.get(name) != kind]
    if unknown:
        raise UserError(f"{where} is told {unknown[0]!r}, and this model is not: give it the same conditions")
