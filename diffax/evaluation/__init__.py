"""Evaluation: metrics of generated samples against real ones, and the evaluators that run during training.

Metrics are pure functions of NumPy arrays, one a file. Features are (n, dim), the generated first and the reference
second; options are keyword-only; results are a float or a named tuple, such as `uncertainty.Estimate` (value and
standard error).
"""

from diffax.evaluation import (
    agreement,
    density_coverage,
    detection,
    diversity,
    energy,
    evaluators,
    features,
    frechet,
    inception_score,
    kernel,
    measurement,
    memorisation,
    metrics,
    moments,
    precision_recall,
    sliced_wasserstein,
    uncertainty,
    wavelets,
)
from diffax.evaluation.evaluators import EVALUATORS, Evaluator
from diffax.evaluation.moments import Moments
from diffax.evaluation.uncertainty import Estimate

__all__ = [
    "EVALUATORS",
    "Estimate",
    "Evaluator",
    "Moments",
    "agreement",
    "density_coverage",
    "detection",
    "diversity",
    "energy",
    "evaluators",
    "features",
    "frechet",
    "inception_score",
    "kernel",
    "measurement",
    "memorisation",
    "metrics",
    "moments",
    "precision_recall",
    "sliced_wasserstein",
    "uncertainty",
    "wavelets",
]
