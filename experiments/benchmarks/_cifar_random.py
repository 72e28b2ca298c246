"""configs/cifar_ddpm.py on random images, without dropout."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from configs import cifar_ddpm
from diffax import resolve
from diffax.reporting import atomic


def config(path: pathlib.Path, batch: int, further: Mapping[str, Any], side: int = 32) -> ConfigDict:
    """The resolved configuration for batches of that size, with further settings by their paths.

    path: where the images of that side are, 256 of them; they are drawn if there is no such file.
    """
    if not path.exists():
        with atomic.replacing(path) as file:
            np.save(file, np.random.default_rng(0).integers(0, 256, (256, side, side, 3), np.uint8))
    settings = {"data.name": "arrays", "data.path": path, "train.batch_size": batch, "model.dropout": 0.0}
    overrides = [(name, str(value)) for name, value in (settings | further).items()]
    return resolve.resolve(resolve.override(cifar_ddpm.get_config(), overrides))
