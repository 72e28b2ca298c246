"""trackio, Hugging Face's local-first experiment tracker (the extra `trackio`)."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, final

import numpy as np


@final
class Trackio:
    """Writes metrics and pictures to trackio's local database; `trackio show --project diffax` shows them.

    A resumed run goes on under the same name, that of the run directory.

    Args:
        project: of trackio.
        space_id: a Hugging Face Space to send everything to; None keeps it on this machine.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        project: str = "diffax",
        space_id: str | None = None,
    ):
        self._workdir, self._config = pathlib.Path(workdir), config
        self._options = {"project": project, "space_id": space_id}
        self._run: Any = None

    def write(self, step: int, metrics: Mapping[str, int | float | str]) -> None:
        """Writes the metrics of a step."""
        self._open().log(dict(metrics), step=step)

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes the pictures of a step, uint8 (height, width, 1 or 3)."""
        run = self._open()
        import trackio

        # trackio takes pictures in colour.
        shown = {name: np.broadcast_to(picture, (*picture.shape[:2], 3)) for name, picture in pictures.items()}
        run.log({name: trackio.Image(picture) for name, picture in shown.items()}, step=step)

    def close(self) -> None:
        """Finishes the trackio run, if anything was written."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _open(self) -> Any:
        if self._run is None:
            import trackio

            name, options = self._workdir.resolve().name, self._options
            self._run = trackio.init(**options, name=name, config=dict(self._config), resume="allow", embed=False)
        return self._run
