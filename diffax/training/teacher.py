"""The teacher of a distillation: a trained network whose denoiser gives the regression target."""

import dataclasses
from typing import Any

from diffax import arrays, conditions, denoisers, processes
from diffax.conditions import Conditions, Kind
from diffax.denoisers.network import ApplyFn, TimeInput
from diffax.typing import Denoiser, Numeric, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Teacher:
    """A network with its frozen parameters, and the guidance of its prediction.

    guidance_scale: of classifier-free guidance by all conditions in `guided`; not used where there are none.
    kinds: of the conditions that it takes, by name, as a tuple of pairs.
    guided: the names of those that guidance acts on; () for no guidance.
    """

    params: Any
    schedule: Schedule
    parameterization: processes.Parameterization
    guidance_scale: Numeric
    apply_fn: ApplyFn = dataclasses.field(metadata={"static": True})
    time_input: TimeInput = dataclasses.field(metadata={"static": True})
    kinds: tuple[tuple[str, Kind], ...] = dataclasses.field(default=(), metadata={"static": True})
    guided: tuple[str, ...] = dataclasses.field(default=(), metadata={"static": True})

    def denoiser(self, condition: Conditions | None) -> Denoiser:
        """The denoiser of a batch under its conditions, of which the teacher is told those that it takes."""
        kinds = dict(self.kinds)
        told = {name: value for name, value in (condition or {}).items() if name in kinds} or None
        parts: tuple[Any, ...] = (self.apply_fn, self.params, self.schedule, self.parameterization)
        if told is None or not self.guided:
            return denoisers.from_network(*parts, time_input=self.time_input, condition=told)
        null = conditions.null(told, kinds, [name for name in self.guided if name in told])
        return denoisers.guided_network(
            *parts, time_input=self.time_input, condition=told, null_condition=null, scale=self.guidance_scale
        )
