"""torch-fidelity's metrics, imported beside a CPU build of torch.

The torchvision of the package index is built for CUDA. With torch's CPU build its compiled operators do not load, and
`import torchvision`, which torch-fidelity needs, stops at the first operator that it describes. The metrics use none
of them, so that declaring them is enough.
"""

import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "torchvision::nms does not exist" not in str(error):
        raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torch_fidelity import metric_fid as fid
from torch_fidelity import metric_isc as inception_score
from torch_fidelity import metric_kid as kid
from torch_fidelity import metric_prc as precision_recall

__all__ = ["fid", "inception_score", "kid", "precision_recall"]
