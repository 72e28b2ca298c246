"""Several training steps in one call of the device, where a step is shorter than what calling it costs."""

from collections.abc import Callable

import jax

from diffax.data.resident import Resident
from diffax.training import accumulation
from diffax.training.state import TrainState
from diffax.training.step import Batch, Metrics

Step = Callable[[TrainState, Batch | Resident], tuple[TrainState, Metrics]]


def several_steps(train_step: Step, num_steps: int) -> Step:
    """num_steps steps as one: of a stack of batches, (num_steps, batch, ...), or of a dataset on the device.

    Metrics are stacked too: (num_steps,). On CPUs the loop is written out: it saves nothing there, and works.
    """

    def steps(state: TrainState, batches: Batch | Resident) -> tuple[TrainState, Metrics]:
        if isinstance(batches, Resident):
            return jax.lax.scan(
                lambda state, _: train_step(state, batches), state, length=num_steps, unroll=accumulation.unrolled()
            )
        return jax.lax.scan(train_step, state, batches, length=num_steps, unroll=accumulation.unrolled())

    return steps
