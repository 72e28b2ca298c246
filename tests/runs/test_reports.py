"""report.html of a run, of a sweep and of an evaluation, read as a browser reads it."""

import html.parser
import json
import pathlib
import shlex
import shutil
import warnings
from xml.etree import ElementTree

import jax
import numpy as np
import pytest

import launch
from diffax import arrays, runs, samplers
from diffax.evaluation.measurement import TRAINED_ON
from diffax.runs import reports, trajectory
from diffax.runs.reports import evaluation
from tests.jobs.test_launch import EVALUATED_POINTS, config

HOSTILE = "<script>alert(1)</script>"
after_training = reports.after_training  # the tests of runs leave it out
EVERY = ("held_out_loss", "samples")


class Read(html.parser.HTMLParser):
    """The text of every cell by rows, the headings, the pictures' labels, and all tags."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.headings, self.labels, self.tags, self._inside = [], [], [], [], ""
        self.whole = path.read_text(encoding="utf-8")
        self.feed(self.whole)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "img":
            self.labels.append(dict(attrs)["data-label"])

    def handle_data(self, data):
        if self._inside in ("td", "th") and self.rows:
            self.rows[-1][-1] += data
        elif self._inside in ("h1", "h2"):
            self.headings.append(data)

    def handle_endtag(self, tag):
        self._inside = ""

    def row(self, start):
        return next(row for row in self.rows if row and row[0] == start)

    def figures(self):
        """The figures, as XML."""
        parts = self.whole.split("<svg")[1:]
        return [ElementTree.fromstring("<svg" + part.partition("</svg>")[0] + "</svg>") for part in parts]

    def figure(self, ylabel):
        return next(figure for figure in self.figures() if figure.get("aria-label").startswith(f"{ylabel} over"))


def num_points(figure):
    return [len(line.get("points").split()) for line in figure.iter("{http://www.w3.org/2000/svg}polyline")]


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A run that was trained, with the report that training wrote."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    every = [f"--config.evaluators.{name}.every=2" for name in EVERY]
    with jax.numpy_dtype_promotion("standard"):
        code = launch.main([
            "launch.py", "--config", str(config("spiral")), "--workdir", str(directory), *EVALUATED_POINTS, *every,
            "--config.evaluators.samples.num_samples=16",
            "--config.train.num_steps=4", "--config.sampler.num_steps=9",
        ])  # fmt: skip
    assert code == 0 and (directory / "report.html").exists()
    return directory


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy of the run."""
    return pathlib.Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_training_writes_a_report_of_its_run(command, run, tmp_path):
    read = Read(run / "report.html")
    assert read.headings == [
        "run", "Metrics", "Samples over training", "Denoising trajectory", "Noise schedule and loss weight",
        "Configuration", "Environment", "Reproduce",
    ]  # fmt: skip
    assert num_points(read.figure("loss")) == [4, 2]  # of training, and held out
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [line["held_out_loss"] for line in lines if "held_out_loss" in line][-1]
    assert read.row("held_out_loss")[1:3] == [f"{last:.4g}", "4"]
    # The pictures of two steps, and the states of nine steps in eight pictures at most.
    assert read.labels[:2] == ["step 2", "step 4"]
    assert read.labels[2:] == [f"{calls} evaluations" for calls in (0, 2, 4, 6, 8, 9)]
    # Differs from the default; the default of the mlp's own option; what is as ever is not listed.
    assert read.row("model.name") == ["model.name", "'mlp'", "'unet'"]
    assert read.row("model.hidden") == ["model.hidden", "8", "128"]
    assert ["model.drop_together", "0.0"] in read.rows  # among all settings alone
    assert read.tags.count("script") == 1

    (run / "report.html").unlink()
    code, out, err = command("--workdir", run, "--mode", "report")
    assert code == 0 and str(run / "report.html") in out and "report: section 8/8" in err
    assert Read(run / "report.html").headings == read.headings

    read = Read(run / "report.html")

    # The command that does it again, from config.json; it needs no training to see that it is the same run.
    line = next(line for line in read.whole.splitlines() if "launch.py --config" in line)
    arguments = shlex.split(line.replace("<pre><code>", "").partition("</code>")[0])[2:]
    assert arguments[-1] == str(tmp_path / "run_again")
    code, shown, err = command(*arguments, "--mode", "show")
    assert code == 0 and shown == command("--workdir", run, "--mode", "show")[1], err


def test_metrics_have_their_errors_and_noise_levels():
    """Five steps, measured at two log-SNRs, of which four are drawn."""
    lines = [{"step": step, "loss": 1 / step, "grad_norm": 2.0} for step in range(1, 6)]
    lines += [{"step": step, "loss_log_snr_-2.5": 3.0, "loss_log_snr_1e-05": 1.0} for step in range(1, 6)]
    lines += [
        {"step": 1, "distance": 0.5, "distance_standard_error": 0.12},
        {"step": 2, "distance": 0.25, "note": "text"},
    ]
    section = reports.run.curves.section(lines)
    figures, table, folded = section.parts
    assert table.rows == [("distance", 0.25, 2, 0.25, 2, 0.5, 1)]
    roots = [ElementTree.fromstring(figure.svg) for figure in figures.figures]
    assert [root.get("aria-label") for root in roots] == ["loss over step", "distance over step", "loss over log-SNR"]
    assert [num_points(root) for root in roots] == [[5], [2], [2] * 4]
    assert "distance: 1, 0.50 ± 0.12" in "".join(roots[1].itertext())
    assert [name for name in roots[2].itertext() if name.startswith("step ")][:2] == ["step 1", "step 1: -2.5, 3"]
    assert "step 5" in roots[2].itertext() and len(folded.parts[0].figures) == 1
    assert reports.run.curves.section([]) is None


def test_a_trajectory_ends_in_the_samples_that_are_drawn(run):
    trained = runs.open(run)
    states = trajectory.draw(trained, 5, seed=3, num_states=4)
    assert states.num_evaluations == (0, 3, 6, 9) and states.states.shape == (4, 5, 2)
    np.testing.assert_allclose(states.states[-1], trained.draw(5, seed=3), atol=1e-5)
    # The cosine schedule is variance preserving: nothing is scaled, and it begins with the sampler's own prior.
    keys = runs.trained.sample_keys(3, np.arange(5, dtype=np.int32))
    prior_keys, _ = arrays.split_keys(keys, 2)
    np.testing.assert_allclose(
        states.states[0], samplers.prior(prior_keys, trained.model.sampler_table(), (2,)), rtol=1e-5
    )
    t = np.asarray(trained.model.sampler_table().times)[[3, 6]]
    np.testing.assert_allclose(states.log_snr[1:], -2 * np.log(np.tan(np.pi / 2 * t)), rtol=1e-4)


def test_a_report_that_fails_ends_no_run(run, monkeypatch):
    def broken(*args):
        raise RuntimeError("no\nluck")

    with monkeypatch.context() as patch:
        patch.setattr(reports.run.noise, "section", broken)
        with pytest.warns(UserWarning, match="report: noise schedule is left out: RuntimeError: no luck"):
            after_training(run, runs.open(run))
    assert "Noise schedule and loss weight" not in Read(run / "report.html").headings
    (run / "report.html").unlink()
    monkeypatch.setattr(reports.page, "write", broken)
    with pytest.warns(UserWarning, match=r"report\.html was not written: RuntimeError: no luck"):
        after_training(run, runs.open(run))
    assert not (run / "report.html").exists()


SWEEP = {
    "metric": "distance", "best_is": "lowest", "config": "configs/digits.py",
    "points": [
        {"name": f"p{i}", "label": None, "path": f"p{i}", "state": "failed" if i == 3 else "finished",
         "message": HOSTILE if i == 3 else "",
         "values": {"optimizer.learning_rate": rate, "schedule.name": HOSTILE if i % 2 else "cosine", "seed": i},
         "last": None if i == 3 else {"step": 5, "value": 0.5 - 0.1 * i}}
        for i, rate in enumerate([1e-4, 1e-4, 1e-2, 1e-2])
    ],
    "rows": [
        {"label": None, "values": {"optimizer.learning_rate": 1e-4, "schedule.name": "cosine"}, "num": 3, "last": 0.5,
         "last_error": 0.021},
        {"label": None, "values": {"optimizer.learning_rate": 1e-2, "schedule.name": HOSTILE}, "num": 1, "last": 0.3,
         "last_error": None},
    ],
}  # fmt: skip


def test_report_of_a_sweep(command, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(SWEEP))
    for i in range(3):
        (tmp_path / f"p{i}").mkdir()
        lines = [{"step": step, "loss": 1 / step} for step in range(1, 6 + i)]
        (tmp_path / f"p{i}" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = command("--workdir", tmp_path, "--mode", "report")
    assert code == 0 and out == f"report: {tmp_path / 'report.html'}\n", err
    read = Read(tmp_path / "report.html")
    assert read.headings[1:] == ["Results", "Hyperparameters", "Learning curves", "Points"]
    assert read.row("0.01") == ["0.01", HOSTILE, "1", "0.3"] and read.row("0.0001")[2:] == ["3", "0.500 ± 0.021"]
    assert read.row("p3") == ["p3", "failed", "0.01", HOSTILE, "3", "", HOSTILE]
    assert num_points(read.figure("loss")) == [5, 6, 7]
    labels = {figure.get("aria-label") for figure in read.figures()}
    assert {"distance over optimizer.learning_rate", "distance over schedule.name"} < labels
    assert read.tags.count("script") == 1


def test_report_of_an_evaluation(command, tmp_path):
    values = {5: 0.9, 10: 0.5, 20: 0.6, 50: 0.1}
    measurements = [
        {"metric": "frechet/pixels@2000", "value": value, "standard_error": 0.01, "n": 2000, "run": HOSTILE, "step": 3,
         "sampler": sampler, "num_evaluations": calls, "settings": {"x": HOSTILE}}
        for sampler, factor in (("ddim", 1), ("unipc", 0.9))
        for calls, value in ((c, factor * v) for c, v in values.items())
    ]  # fmt: skip
    results = {"measurements": [*measurements, {"metric": "broken"}], "made_by": {"command": HOSTILE}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    code, _, err = command("--workdir", tmp_path, "--mode", "report")
    assert code == 0, err
    read = Read(tmp_path / "report.html")
    assert read.headings[1:] == ["Quality against evaluations", "Measurements", "Made by"]
    figure = read.figure("frechet/pixels@2000")
    assert num_points(figure) == [4, 4, 3]  # the front leaves out 20 evaluations, which are worse than 10
    rows = [row for row in read.rows if row and row[0] == "frechet/pixels@2000"]
    assert len(rows) == 8 and rows[0] == ["frechet/pixels@2000", HOSTILE, "3", "ddim", "5", "2,000", "0.900 ± 0.010"]
    assert read.whole.count('class="marked"') == 1 and read.tags.count("script") == 1


def test_a_value_in_features_that_were_trained_on_is_never_the_best():
    measurements = [
        {"metric": "frechet/pixels@100", "value": value, "run": run, "num_evaluations": 1, "settings": {}} | more
        for run, value, more in (("a", 0.5, {}), ("b", 0.1, {"remark": TRAINED_ON}), ("c", 0.6, {}))
    ]
    section = evaluation.table(measurements)
    shown = section.parts[0]
    assert shown.rows[1][-1] == "0.1 (trained on these features)" and shown.marked == frozenset({0})
    assert "Values with (trained on these features) do not rank a model" in section.caption


@pytest.mark.parametrize("damaged", ["[]", "{", '{"points": 3, "rows": [1], "measurements": [null]}'])
def test_damaged_json_leaves_sections_out(tmp_path, damaged):
    for name in ("summary.json", "results.json"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / name).write_text(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Read(reports.write_other(directory)).headings[0].endswith(name)


def test_nothing_to_report_on(command, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = command("--workdir", tmp_path / "empty", "--mode", "report")
    assert code == 2 and "nothing to report on: expected config.json of a run, summary.json of a sweep" in err
    assert list((tmp_path / "empty").iterdir()) == []
