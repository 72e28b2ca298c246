"""torch-fidelity's metrics, imported where torchvision's compiled operators may not load."""

from experiments.benchmarks.peers import torchvision_operators

torchvision_operators.do_without()  # torch-fidelity imports torchvision

from torch_fidelity import metric_fid as fid  # noqa: E402
from torch_fidelity import metric_isc as inception_score  # noqa: E402
from torch_fidelity import metric_kid as kid  # noqa: E402
from torch_fidelity import metric_prc as precision_recall  # noqa: E402

__all__ = ["fid", "inception_score", "kid", "precision_recall"]
