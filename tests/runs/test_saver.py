"""Which steps of a run are saved."""

import dataclasses

import jax.numpy as jnp
import pytest

from diffax import config as settings
from diffax import resolve
from diffax.runs.saver import Saver
from diffax.training.checkpoint import Checkpoints
from tests.training.test_loop import counter


class Recorder(Checkpoints):
    """Stands in for Checkpoints: the steps that were saved, with their metrics."""

    def __init__(self):
        self.saved, self.metrics = [], []

    def save(self, step, state, *, metric=None, description=None):
        self.saved.append(step)
        self.metrics.append(metric)

    def is_better(self, metric):
        return True

    def steps(self):
        return self.saved

    def amend(self, step, *, metric, description):
        self.metrics[self.saved.index(step)] = metric


def saver_of(**train):
    config = settings.default()
    config.train.update({"num_steps": 9} | train)
    return Saver(Recorder(), resolve.resolve(config))


def skipped(step, in_a_row):
    return dataclasses.replace(counter(step), skipped_in_a_row=jnp.asarray(in_a_row, jnp.int32))


def test_a_skipped_step_is_not_saved_but_for_the_last():
    """A run that is about to end for skipped steps goes on from a good one; one that ends has its last state."""
    saver = saver_of()
    for step, in_a_row in ((3, 0), (6, 1), (9, 2)):
        saver.save(step, skipped(step, in_a_row))
    assert saver.checkpoints.saved == [3, 9]
    stopped = saver_of()
    stopped.save(6, skipped(6, 1), recent=[])  # by a signal
    assert stopped.checkpoints.saved == [6]


@pytest.mark.parametrize("best", ["held_out_loss", "pixel_frechet"])
def test_the_metric_is_that_of_train_best_at_this_step(best):
    saver = saver_of(best=best)
    saver.measured(3, {"first": 1.5, "held_out_loss": 0.5})
    saver.measured(3, {"second": 2.5, "pixel_frechet": 7.0, "third": 3.5})
    for step in (3, 4):
        saver.save(step, skipped(step, 0))
    assert saver.checkpoints.metrics == [{"held_out_loss": 0.5, "pixel_frechet": 7.0}[best], None]
    saver.save_measured(5, skipped(5, 0))
    assert saver.checkpoints.saved == [3, 4]  # nothing was measured at step 5
    saver.measured(4, {"held_out_loss": 0.25, "pixel_frechet": 6.0})
    saver.save_measured(4, skipped(4, 0))  # measured after it was saved
    assert saver.checkpoints.metrics[1] == {"held_out_loss": 0.25, "pixel_frechet": 6.0}[best]
