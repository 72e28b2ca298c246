"""Diffusion and flow models in JAX: pure functions and small frozen objects, in rooms that are imported by name.

    from diffax import schedules, denoisers, samplers
    import diffax; diffax.samplers.ddim(...)

Importing diffax itself loads nothing else and changes no setting; a room is imported when it is first used.
"""

import importlib
from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """The room of that name, imported."""
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
