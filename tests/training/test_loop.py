"""The loop with a step that only counts."""

import io
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import losses, processes, schedules, training
from diffax.processes import time_sampling
from diffax.reporting.metrics import MetricsWriter
from diffax.reporting.progress import Progress


def counter(step):
    """A state that holds nothing but its step."""
    hyperparameters = training.Hyperparameters(
        learning_rate=0.1,
        averagings=(training.ema.Constant(0.0),),
        schedule=schedules.Flow(),
        parameterization=processes.V(),
        weighting=losses.weighting.Uniform(),
        time_density=time_sampling.Uniform(),
    )
    zero = jnp.zeros((), jnp.int32)
    return training.TrainState(jnp.asarray(step), jax.random.key(0), {}, (), (), zero, zero, hyperparameters)


def run(tmp_path, values, *, start=0, num_steps=None, log_every=2, callbacks=(), **options):
    seen, bad = [], [not np.isfinite(value) for value in values]

    def train_step(state, batch):
        seen.append(int(batch["x"]))
        step = int(state.step)
        metrics = {"loss": values[step], "grad_norm": 1.0, "learning_rate": 0.1, "skipped": sum(bad[: step + 1])}
        metrics["skipped_in_a_row"] = next(n for n in range(step + 2) if n > step or not bad[step - n])
        return counter(int(state.step) + 1), {name: jnp.asarray(value) for name, value in metrics.items()}

    batches = ({"x": np.array(i)} for i in itertools.count(start))
    num_steps = len(values) if num_steps is None else num_steps
    with MetricsWriter(tmp_path) as writer, Progress(num_steps, stream=io.StringIO()) as bar:
        training.fit(
            train_step, counter(start), batches, num_steps=num_steps, log_every=log_every,
            writer=writer, progress=bar, callbacks=callbacks, **options,
        )  # fmt: skip
    return seen, [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]


def test_logs_means_between_logs_and_at_the_end(tmp_path):
    seen, lines = run(tmp_path, [1.0, 3.0, 5.0, 9.0, 2.0])
    assert seen == [0, 1, 2, 3, 4]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 2.0), (4, 7.0), (5, 2.0)]
    assert all(line["steps_per_second"] > 0 for line in lines)


def test_starts_where_the_state_is(tmp_path):
    seen, lines = run(tmp_path, [1.0] * 6, start=4)
    assert seen == [4, 5] and [line["step"] for line in lines] == [6]


def test_callbacks_run_on_their_steps_and_after_the_last(tmp_path):
    calls = []

    def action(step, state):
        calls.append((step, int(state.step)))
        return {"quality": step / 10}

    _, lines = run(tmp_path, [1.0] * 5, log_every=100, callbacks=(training.PeriodicCallback(2, action),))
    assert calls == [(2, 2), (4, 4), (5, 5)]
    assert [line["quality"] for line in lines if "quality" in line] == [0.2, 0.4, 0.5]


NAN = float("nan")


def test_skipped_steps_are_counted_and_left_out_of_means(tmp_path):
    _, lines = run(tmp_path, [1.0, NAN, 5.0, 7.0, NAN, NAN], max_skipped=3)
    assert [line.get("loss") for line in lines] == [1.0, 6.0, None]
    assert [line.get("skipped") for line in lines] == [1, 1, 3]


def test_too_many_in_a_row_stop_before_anything_is_saved(tmp_path):
    """The message names the first of them, however far the device was ahead; the batch of step 3 is number 2."""
    saved = []
    callbacks = (training.PeriodicCallback(2, lambda step, state: saved.append(step)),)
    message = (
        r"^loss is nan at step 3 \(learning rate 0.1; losses up to there 1, 2, nan; examples of its batch 20, 21\); "
        "2 steps in a row were skipped: .* the last checkpoint is from before$"
    )
    with pytest.raises(FloatingPointError, match=message):
        run(
            tmp_path, [1.0, 2.0, NAN, NAN, 1.0, NAN], callbacks=callbacks, max_skipped=2,
            batch_indices=lambda step: np.array([10 * step, 10 * step + 1]),
        )  # fmt: skip
    assert saved == [2]
    with pytest.raises(FloatingPointError, match=r"at step 2 .*; 1 steps in a row"):
        run(tmp_path, [1.0, NAN, 1.0, 1.0, 1.0], log_every=100, max_skipped=1)
