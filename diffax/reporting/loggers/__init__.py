"""Loggers: where the metrics and pictures of a run go. Three functions are the interface: write, write_pictures, close.

A run always has `Jsonl`, from which it resumes; config.loggers names others. One of your own is any class with these
functions, "my_project.loggers:MyLogger", whose constructor may take workdir, resume_step and config.
"""

import importlib.util
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from diffax.reporting.loggers.jsonl import Jsonl
from diffax.reporting.loggers.tensorboard import TensorBoard
from diffax.reporting.loggers.trackio import Trackio
from diffax.reporting.loggers.wandb import WandB

Scalar = int | float | str


@runtime_checkable
class Logger(Protocol):
    """What a run writes its metrics and pictures to."""

    def write(self, step: int, metrics: Mapping[str, Scalar]) -> None:
        """Writes the metrics of a step: finite and non-finite numbers, and texts."""

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes the pictures of a step, uint8 (height, width, 1 or 3)."""

    def close(self) -> None:
        """Writes what is left; the logger is not used afterwards."""


# What config.loggers chooses from, by these names; and the packages that diffax does not install by itself.
LOGGERS = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
EXTRAS = ("wandb", "trackio")

__all__ = ["EXTRAS", "LOGGERS", "Jsonl", "Logger", "TensorBoard", "Trackio", "WandB", "check_installed"]


def check_installed(name: str) -> None:
    """Raises ValueError for a logger whose package is not installed."""
    if name in EXTRAS and importlib.util.find_spec(name) is None:
        raise ValueError(f"loggers.{name} needs the package {name}: pip install 'diffax[{name}]'")
