"""Weights & Biases (the extra `wandb`)."""

import os
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from diffax.reporting import atomic

ID = "wandb_id.txt"


@final
class WandB:
    """Sends metrics and pictures to Weights & Biases, with the run's configuration.

    A resumed run goes on in the same W&B run, whose id is kept in the run directory. Metrics have an axis `step` of
    their own: steps that a resumed run does again are drawn over the former ones, which W&B cannot take back.

    Args:
        project, entity: of Weights & Biases; entity None is the user's own.
        mode: "online", "offline" (`wandb sync` sends it later) or "disabled"; None leaves it to WANDB_MODE.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        config: Mapping[str, Any],
        *,
        project: str = "diffax",
        entity: str | None = None,
        mode: str | None = None,
    ):
        self._workdir, self._config = pathlib.Path(workdir), config
        self._options = {"project": project, "entity": entity, "mode": mode}
        self._run: Any = None

    def write(self, step: int, metrics: Mapping[str, int | float | str]) -> None:
        """Sends the metrics of a step."""
        self._open().log({"step": step, **metrics})

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Sends the pictures of a step, uint8 (height, width, 1 or 3)."""
        import wandb

        shown = {
            name: wandb.Image(picture.repeat(4 - picture.shape[-1], -1)[..., :3]) for name, picture in pictures.items()
        }
        self._open().log({"step": step, **shown})

    def close(self) -> None:
        """Finishes the W&B run, if anything was sent."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _open(self) -> Any:
        if self._run is None:
            import wandb

            self._run = wandb.init(
                **self._options,
                id=self._id(),
                resume="allow",
                name=self._workdir.resolve().name,
                dir=str(self._workdir),
                config=dict(self._config),
            )
            self._run.define_metric("step")
            self._run.define_metric("*", step_metric="step")
        return self._run

    def _id(self) -> str:
        path = self._workdir / ID
        if not path.exists():
            with atomic.replacing(path) as file:
                file.write(uuid.uuid4().hex[:12].encode())
        return path.read_text().strip()
