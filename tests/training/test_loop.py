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
    numbers = training.Numbers(
        learning_rate=0.1,
        ema_decay=0.0,
        schedule=schedules.Flow(),
        parameterization=processes.V(),
        weighting=losses.weighting.Uniform(),
        time_density=time_sampling.Uniform(),
    )
    return training.TrainState(jnp.asarray(step), jax.random.key(0), {}, (), {}, numbers)


def run(tmp_path, values, *, start=0, num_steps=None, log_every=2, every=()):
    seen = []

    def train_step(state, batch):
        seen.append(int(batch["x"]))
        metrics = {"loss": values[int(state.step)], "grad_norm": 1.0, "learning_rate": 0.1}
        return counter(int(state.step) + 1), {name: jnp.asarray(value) for name, value in metrics.items()}

    batches = ({"x": np.array(i)} for i in itertools.count(start))
    num_steps = len(values) if num_steps is None else num_steps
    with MetricsWriter(tmp_path, write_tensorboard=False) as writer, Progress(num_steps, stream=io.StringIO()) as bar:
        training.fit(
            train_step, counter(start), batches, num_steps=num_steps, log_every=log_every,
            writer=writer, progress=bar, every=every,
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


def test_actions_run_on_their_steps_and_after_the_last(tmp_path):
    calls = []

    def action(step, state):
        calls.append((step, int(state.step)))
        return {"quality": step / 10}

    _, lines = run(tmp_path, [1.0] * 5, log_every=100, every=(training.Every(2, action),))
    assert calls == [(2, 2), (4, 4), (5, 5)]
    assert [line["quality"] for line in lines if "quality" in line] == [0.2, 0.4, 0.5]


def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(tmp_path):
    saved = []
    every = (training.Every(4, lambda step, state: saved.append(step)),)
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 3 \(learning rate 0.1\)"):
        run(tmp_path, [1.0, 1.0, float("nan"), 1.0, 1.0], log_every=100, every=every)
    assert saved == []
