"""Training: state, step, loop and checkpoints."""

from diffax.training import accumulation, diagnostics, ema, posthoc
from diffax.training.dispatch import several_steps
from diffax.training.loop import Every, check_multiples, fit
from diffax.training.optimizer import LearningRateShape, adam, learning_rate_shape, muon
from diffax.training.state import Numbers, TrainState, init_state
from diffax.training.step import Batch, BatchLoss, DropCondition, View, make_held_out_loss, make_loss, make_train_step

__all__ = [
    "Batch",
    "BatchLoss",
    "DropCondition",
    "Every",
    "LearningRateShape",
    "Numbers",
    "TrainState",
    "View",
    "accumulation",
    "adam",
    "check_multiples",
    "diagnostics",
    "ema",
    "fit",
    "init_state",
    "learning_rate_shape",
    "make_held_out_loss",
    "make_loss",
    "make_train_step",
    "muon",
    "posthoc",
    "several_steps",
]
