"""TensorBoard event files in the run directory, by tensorboardX."""

import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any, final

import numpy as np


@final
class TensorBoard:
    """Writes numbers and pictures to TensorBoard event files; texts are left out.

    With resume_step = k a new file has a purge marker, by which TensorBoard forgets what older files hold of steps > k.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None = None):
        self._workdir = pathlib.Path(workdir)
        self._resume_step = resume_step
        self._events: Any = None

    def write(self, step: int, metrics: Mapping[str, int | float | str]) -> None:
        """Writes the numbers of a step."""
        for name, value in metrics.items():
            if not isinstance(value, str):
                self._open().add_scalar(name, float(value), step)

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes the pictures of a step, uint8 (height, width, 1 or 3)."""
        for name, picture in pictures.items():
            self._open().add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Closes the file, if anything was written."""
        if self._events is not None:
            self._events.close()
            self._events = None

    def _open(self) -> Any:
        if self._events is None:
            import tensorboardX

            # The file name has only the host and the second. Without a suffix a quick restart would truncate the file
            # of the run before.
            suffix = f".{os.getpid()}.{time.time_ns() % 10**9}"
            purge_step = None if self._resume_step is None else self._resume_step + 1
            self._events = tensorboardX.SummaryWriter(
                str(self._workdir), purge_step=purge_step, flush_secs=10, filename_suffix=suffix
            )
        return self._events
