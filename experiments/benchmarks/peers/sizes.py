"""The sizes of the comparison: those of the tables, and tiny ones that show that everything runs."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured; it travels to the child processes as JSON.

    repeats: calls in a row that are timed together, of what only starts a computation (`Work.finish`).
    channels: of the network's first level; 128 makes 35.7M parameters with all levels and blocks.
    multipliers, blocks: channels of the levels as multiples of the first's, and residual blocks of each.
    other_channels: those of denoising-diffusion-pytorch's network, whose number of parameters is nearest then.
    batch, large_batch, sample_batch: images of a training step, of one beside the ceiling, and of sampling.
    steps_few, steps_all: denoiser calls of DDIM and DDPM.
    matrix, megabytes: the side of square matrices and the size of the array that is copied, of the ceilings.
    images: files that the loader reads; features, width: of the Frechet distance.
    demo: further flags of launch.py for the digits.
    """

    repeats: int = 1
    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    other_channels: int = 144
    batch: int = 16
    large_batch: int = 16
    sample_batch: int = 64
    steps_few: int = 50
    steps_all: int = 1000
    matrix: int = 2048
    megabytes: int = 1024
    images: int = 50_000
    features: int = 50_000
    width: int = 2048
    demo: tuple[str, ...] = ()

    @classmethod
    def accelerated(cls) -> "Sizes":
        """Sizes that fill a GPU."""
        return cls(repeats=10, batch=128, large_batch=512, sample_batch=16, matrix=8192, megabytes=4096)

    @classmethod
    def quick(cls) -> "Sizes":
        """Tiny sizes. Nothing that is measured with them means anything."""
        demo = (
            "--config.train.num_steps=4",
            "--config.optimizer.warmup_steps=0",
            "--config.evaluators.samples=None",
            "--config.evaluators.held_out_loss=None",
        )
        batches: Any = {"batch": 2, "large_batch": 4, "sample_batch": 2}
        tiny: Any = {"steps_few": 2, "steps_all": 4, "matrix": 256, "megabytes": 16}
        small: Any = {"channels": 32, "other_channels": 32, "multipliers": (1, 2), "blocks": 1}
        return cls(images=400, features=400, width=64, demo=demo, **batches, **tiny, **small)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Sizes":
        """The sizes that were sent as JSON."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclasses.dataclass(frozen=True)
class Work:
    """Something to be timed: a call.

    finish: waits for what the last of several calls in a row returned; None where a call returns when all is done.
    prepare: called once before, and not timed; by default `call`. For calls that take minutes.
    amount: how much is done by one call, in `unit` (FLOP, bytes, images), or what counts it once all calls are made;
      None where seconds are what counts.
    close: called at the end.
    """

    call: Callable[[], Any]
    finish: Callable[[Any], Any] | None = None
    prepare: Callable[[], Any] | None = None
    amount: float | Callable[[], float | None] | None = None
    unit: str = ""
    close: Callable[[], None] | None = None
    parameters: int | None = None
