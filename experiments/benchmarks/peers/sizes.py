"""The sizes of the comparison: those of the tables, and tiny ones that show that everything runs."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured; it travels to the child processes as JSON.

    channels: of the network's first level; 128 makes 35.7M parameters with all levels and blocks.
    multipliers, blocks: channels of the levels as multiples of the first's, and residual blocks of each.
    other_channels: those of denoising-diffusion-pytorch's network, whose number of parameters is nearest then.
    batch, sample_batch: images of a training step and of sampling.
    steps_few, steps_all: denoiser calls of DDIM and DDPM.
    matrix, megabytes: the side of square matrices and the size of the array that is copied, of the ceilings.
    images: files that the loader reads; features, width: of the Frechet distance.
    demo: further flags of launch.py for the digits.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    other_channels: int = 144
    batch: int = 16
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
    def quick(cls) -> "Sizes":
        """Tiny sizes. Nothing that is measured with them means anything."""
        demo = (
            "--config.train.num_steps=4",
            "--config.optimizer.warmup_steps=0",
            "--config.evaluators.samples=None",
            "--config.evaluators.held_out_loss=None",
        )
        tiny: Any = {"batch": 2, "sample_batch": 2, "steps_few": 2, "steps_all": 4, "matrix": 256, "megabytes": 16}
        small: Any = {"channels": 32, "other_channels": 32, "multipliers": (1, 2), "blocks": 1}
        return cls(images=400, features=400, width=64, demo=demo, **tiny, **small)

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Sizes":
        """The sizes that were sent as JSON."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclasses.dataclass(frozen=True)
class Work:
    """Something to be timed: a call that returns when its result is there.

    prepare: called once before, and not timed; by default `call`. For calls that take minutes.
    amount: how much is done by one call, in `unit` (FLOP, bytes, images); None where seconds are what counts.
    close: called at the end.
    """

    call: Any
    prepare: Any = None
    amount: float | None = None
    unit: str = ""
    close: Any = None
    parameters: int | None = None
