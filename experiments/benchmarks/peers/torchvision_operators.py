"""Makes torchvision importable beside a build of torch that its compiled operators do not fit.

Where torch is the CPU build and torchvision the CUDA build, the operators cannot be loaded, and the import of
torchvision fails in the module that describes them. The networks compared here use none of them.
"""

import importlib.util
import pathlib
import sys
import types

import torch


def do_without() -> None:
    """Leaves out the description of the operators if they cannot be loaded; call it before torchvision's import."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    try:
        torch.ops.load_library(str(pathlib.Path(spec.origin).with_name("_C.so")))
    except OSError:
        name = "torchvision._meta_registrations"
        sys.modules.setdefault(name, types.ModuleType(name))
