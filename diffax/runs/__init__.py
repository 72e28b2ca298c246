"""Runs: the run directory, the compiled training program, and the trained model, opened by `runs.open`."""

from diffax.runs.errors import Preempted, UserError, for_people
from diffax.runs.evaluation_data import EvaluationData
from diffax.runs.model import DataDescription, Model
from diffax.runs.opening import open
from diffax.runs.program import Program
from diffax.runs.sample_sets import SampleSet, sample_set
from diffax.runs.trained import Trained

__all__ = [
    "DataDescription",
    "EvaluationData",
    "Model",
    "Preempted",
    "Program",
    "SampleSet",
    "Trained",
    "UserError",
    "for_people",
    "open",
    "sample_set",
]
