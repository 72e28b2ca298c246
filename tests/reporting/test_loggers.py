"""The loggers beside JSON Lines: wandb and trackio by stand-ins with the functions of those packages that are used."""

import importlib.machinery
import sys
import types

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from diffax import build, resolve
from diffax import config as settings
from diffax.reporting import loggers, metrics

GREY, COLOUR = np.full((2, 3, 1), 7, np.uint8), np.arange(18, dtype=np.uint8).reshape(2, 3, 3)


class Run:
    """What wandb.init and trackio.init return."""

    def __init__(self, calls):
        self.calls = calls

    def define_metric(self, name, step_metric=None):
        self.calls.append(("define_metric", name, step_metric))

    def log(self, values, step=None):
        self.calls.append(("log", values, step))

    def finish(self):
        self.calls.append(("finish",))


@pytest.fixture
def calls(monkeypatch):
    """Everything that was called of the stand-ins wandb and trackio."""
    seen = []
    for name in ("wandb", "trackio"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        module.init = lambda **options: (seen.append(("init", options)), Run(seen))[1]
        module.Image = lambda pixels: ("image", pixels.shape, pixels.dtype.name, int(pixels[0, 0, 0]))
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def chosen(**choices):
    """A configuration with these loggers alone."""
    config = settings.default()
    config.loggers = {name: settings.choice(name, **options) for name, options in choices.items()}
    return resolve.resolve(config)


def write_all(workdir, config, resume_step=None):
    made = build.loggers(config, workdir, resume_step)
    with metrics.MetricsWriter(workdir, resume_step, loggers=made) as writer:
        writer.write((resume_step or 0) + 1, {"loss": np.float32(0.5), "note": "text"})
        writer.write_pictures((resume_step or 0) + 1, {"grey": GREY, "colour": COLOUR})


def test_wandb_gets_all_and_goes_on_in_the_same_run(tmp_path, calls):
    config = chosen(wandb={"project": "mine", "entity": "me", "mode": "offline"})
    build.check_loggers(config)
    write_all(tmp_path, config)
    (_, options), *rest = calls
    assert (options["project"], options["entity"], options["mode"]) == ("mine", "me", "offline")
    assert options["config"]["schedule"] == {"name": "cosine"} | options["config"]["schedule"]
    assert options["dir"] == str(tmp_path) and options["name"] == tmp_path.name and options["resume"] == "allow"
    shown = {"grey": ("image", (2, 3, 3), "uint8", 7), "colour": ("image", (2, 3, 3), "uint8", 0)}
    assert rest == [
        ("define_metric", "step", None),
        ("define_metric", "*", "step"),
        ("log", {"step": 1, "loss": 0.5, "note": "text"}, None),
        ("log", {"step": 1, **shown}, None),
        ("finish",),
    ]
    write_all(tmp_path, config, resume_step=1)
    again = [call[1]["id"] for call in calls if call[0] == "init"]
    assert len(again) == 2 and again[0] == again[1] == (tmp_path / "wandb_id.txt").read_text()


def test_trackio_gets_all(tmp_path, calls):
    write_all(tmp_path, chosen(trackio={"project": "mine", "space_id": "me/space"}))
    (_, options), *rest = calls
    assert (options["project"], options["space_id"], options["name"]) == ("mine", "me/space", tmp_path.name)
    assert options["resume"] == "allow" and options["config"]["seed"] == 0
    shown = {"grey": ("image", (2, 3, 3), "uint8", 7), "colour": ("image", (2, 3, 3), "uint8", 0)}
    assert rest == [("log", {"loss": 0.5, "note": "text"}, 1), ("log", shown, 1), ("finish",)]


def test_a_logger_that_writes_nothing_starts_nothing(tmp_path, calls):
    config = chosen(tensorboard={}, wandb={}, trackio={})
    with metrics.MetricsWriter(tmp_path, loggers=build.loggers(config, tmp_path, None)):
        pass
    assert calls == [] and [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"loggers.wandb needs the package wandb: pip install 'diffax\[wandb\]'"):
        build.check_loggers(chosen(wandb={}))
    build.check_loggers(settings.default())


def test_tensorboard_gets_pictures(tmp_path):
    write_all(tmp_path, chosen(tensorboard={}))
    [path] = tmp_path.glob("events.*")
    data, tags = path.read_bytes(), {}
    while data:
        length = int.from_bytes(data[:8], "little")
        for value in event_pb2.Event.FromString(data[12 : 12 + length]).summary.value:
            tags[value.tag] = (value.image.height, value.image.width) if value.HasField("image") else value.simple_value
        data = data[16 + length :]
    assert tags == {"loss": 0.5, "grey": (2, 3), "colour": (2, 3)}


class Failing:
    """A logger of one's own, whose network is down."""

    def __init__(self, workdir):
        self.workdir = workdir

    def write(self, step, metrics):
        raise ConnectionError("no\nnetwork")

    def write_pictures(self, step, pictures):
        raise AssertionError("it was left out")

    close = write_pictures


def test_a_logger_that_fails_is_left_out_with_a_warning(tmp_path):
    config = resolve.resolve(resolve.override(settings.default(), [("loggers.mine.name", f"{__name__}:Failing")]))
    made = build.loggers(config, tmp_path, None)
    assert set(made) == {"mine", "tensorboard"} and made["mine"].workdir == tmp_path
    with metrics.MetricsWriter(tmp_path, loggers=made) as writer:
        with pytest.warns(UserWarning, match="logger mine: ConnectionError: no network; it is left out"):
            writer.write(1, {"loss": 0.5})
        writer.write(2, {"loss": 0.25})
    assert [line["loss"] for line in metrics.read(tmp_path)] == [0.5, 0.25]


def test_all_loggers_have_the_three_functions():
    for logger in (loggers.Jsonl, *loggers.LOGGERS.values()):
        assert all(callable(getattr(logger, name)) for name in ("write", "write_pictures", "close"))
