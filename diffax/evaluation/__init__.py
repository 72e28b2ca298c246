"""Evaluation: distances between generated and real samples, and the evaluators that run during training."""

from diffax.evaluation import evaluators, frechet, sliced_wasserstein
from diffax.evaluation.evaluators import EVALUATORS, Evaluator

__all__ = ["EVALUATORS", "Evaluator", "evaluators", "frechet", "sliced_wasserstein"]
