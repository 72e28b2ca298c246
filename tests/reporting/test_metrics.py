import json
import math
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from diffax.reporting import loggers, metrics


def strict_lines(workdir):
    """The parsed lines of metrics.jsonl by a JSON reader that knows no NaN."""

    def refuse(constant):
        raise AssertionError(f"not JSON: {constant}")

    text = (workdir / "metrics.jsonl").read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def events(workdir):
    """(step, tag, value) and purge markers of all event files, by the TFRecord layout: length, crc, data, crc."""
    found = []
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            if event.HasField("session_log"):
                found.append((event.step, "restart", event.session_log.status))
            data = data[16 + length :]
    return found


def tensorboard(workdir, resume_step=None):
    return {"tensorboard": loggers.TensorBoard(workdir, resume_step)}


def test_one_object_a_line_on_disk_at_once(tmp_path):
    with metrics.MetricsWriter(tmp_path / "run") as writer:
        writer.write(1, {"loss": jnp.float32(0.5), "rate": np.float64(2.5), "count": np.int64(3), "note": "hello"})
        assert strict_lines(tmp_path / "run") == [{"step": 1, "loss": 0.5, "rate": 2.5, "count": 3, "note": "hello"}]
        writer.write(np.int32(2), {"loss": jnp.bfloat16(0.25), "best": True})
        assert strict_lines(tmp_path / "run")[1] == {"step": 2, "loss": 0.25, "best": True}


def test_non_finite_numbers_are_strict_json_and_read_back(tmp_path):
    values = {"a": math.nan, "b": np.float32(np.inf), "c": jnp.float32(-jnp.inf), "d": np.float64(np.nan)}
    with metrics.MetricsWriter(tmp_path) as writer:
        writer.write(1, values)
    assert strict_lines(tmp_path) == [{"step": 1, "a": "nan", "b": "inf", "c": "-inf", "d": "nan"}]
    (record,) = metrics.read(tmp_path)
    assert math.isnan(record["a"]) and math.isnan(record["d"])
    assert (record["b"], record["c"]) == (math.inf, -math.inf)


def test_tensorboard_gets_the_numbers(tmp_path):
    with metrics.MetricsWriter(tmp_path, loggers=tensorboard(tmp_path)) as writer:
        writer.write(10, {"loss": 0.5, "note": "text"})
        writer.write(20, {"loss": 0.25, "eval/distance": 3})
    assert events(tmp_path) == [(10, "loss", 0.5), (20, "loss", 0.25), (20, "eval/distance", 3.0)]


def test_a_half_written_line_is_dropped(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
    whole = (tmp_path / "metrics.jsonl").read_bytes()
    (tmp_path / "metrics.jsonl").write_bytes(whole + '{"step": 2, "note": "é'.encode()[:-1])
    assert [record["step"] for record in metrics.read(tmp_path)] == [1]
    with pytest.warns(UserWarning, match=r"dropped unreadable lines \[2\]"):
        writer = metrics.MetricsWriter(tmp_path)
    with writer:
        writer.write(2, {"loss": 0.5})
    assert strict_lines(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}')
    with metrics.MetricsWriter(tmp_path) as writer:
        writer.write(2, {"loss": 0.5})
    assert [record["step"] for record in strict_lines(tmp_path)] == [1, 2]


def test_resuming_drops_later_steps_so_none_appears_twice(tmp_path):
    with metrics.MetricsWriter(tmp_path, loggers=tensorboard(tmp_path)) as writer:
        for step in range(1, 8):
            writer.write(step, {"loss": float(step)})
    with metrics.MetricsWriter(tmp_path, resume_step=4, loggers=tensorboard(tmp_path, 4)) as writer:
        for step in range(5, 10):
            writer.write(step, {"loss": 10.0 * step})
    lines = strict_lines(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert [line["loss"] for line in lines] == [1, 2, 3, 4, 50, 60, 70, 80, 90]
    # The second event file says to forget what the first one holds from step 5 on (SessionLog START is 1).
    assert len(list(tmp_path.glob("events.*"))) == 2
    assert (5, "restart", 1) in events(tmp_path)


def test_a_step_that_is_measured_again_keeps_the_line_of_its_training_alone(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        for step, name in ((1, "loss"), (1, "measured"), (2, "loss"), (2, "measured"), (2, "more"), (3, "loss")):
            writer.write(step, {name: 1.0})
    with metrics.MetricsWriter(tmp_path, 2, measure_again=True) as writer:
        writer.write(2, {"measured": 2.0})
    lines = [(line["step"], *(name for name in line if name != "step")) for line in metrics.read(tmp_path)]
    assert lines == [(1, "loss"), (1, "measured"), (2, "loss"), (2, "measured")]


def test_without_resume_step_nothing_is_dropped(tmp_path):
    for step in (1, 2):
        with metrics.MetricsWriter(tmp_path) as writer:
            writer.write(step, {"loss": 0.0})
    assert [line["step"] for line in strict_lines(tmp_path)] == [1, 2]


def test_a_file_without_lines_is_nothing_to_warn_of(tmp_path, recwarn):
    for _ in range(2):
        metrics.MetricsWriter(tmp_path, resume_step=3).close()
    assert metrics.read(tmp_path) == [] and len(recwarn) == 0


def test_refused_metrics_leave_no_line(tmp_path):
    with metrics.MetricsWriter(tmp_path) as writer:
        with pytest.raises(ValueError, match=r"metric 'loss' must be a scalar, got shape \(3,\)"):
            writer.write(1, {"ok": 1.0, "loss": jnp.zeros(3)})
        with pytest.raises(ValueError, match="metric 'x' must be a number or a string, got NoneType"):
            writer.write(1, {"x": None})
        with pytest.raises(ValueError, match='cannot be called "step"'):
            writer.write(1, {"step": 1})
    assert strict_lines(tmp_path) == []
