"""Training: state, step, loop, optimizers, EMA and checkpoints."""

from diffax.training import accumulation, coupling, ema, learned, learning_rate, posthoc, roles
from diffax.training.learning_rate import LearningRateShape
from diffax.training.loop import PeriodicCallback, fit, run_callbacks
from diffax.training.optimizer import adam, muon
from diffax.training.state import Hyperparameters, TrainState, evaluation_keys, init_key, init_state
from diffax.training.step import (
    Batch,
    BatchLoss,
    DropCondition,
    Preprocess,
    make_loss,
    make_train_step,
    preprocessed,
    takes,
)
from diffax.training.teacher import Teacher

__all__ = [
    "Batch",
    "BatchLoss",
    "DropCondition",
    "Hyperparameters",
    "LearningRateShape",
    "PeriodicCallback",
    "Preprocess",
    "Teacher",
    "TrainState",
    "accumulation",
    "adam",
    "coupling",
    "ema",
    "evaluation_keys",
    "fit",
    "init_key",
    "init_state",
    "learned",
    "learning_rate",
    "make_loss",
    "make_train_step",
    "muon",
    "posthoc",
    "preprocessed",
    "roles",
    "run_callbacks",
    "takes",
]
