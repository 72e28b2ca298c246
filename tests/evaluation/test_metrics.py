"""Metrics by name: what each compares with what, their full names, and the records that may be compared."""

import json
import math

import numpy as np
import pytest

from diffax import data
from diffax.evaluation import features, measurement, metrics, real, table
from diffax.evaluation.metrics import Comparison, FeatureSet
from diffax.evaluation.uncertainty import Estimate

RNG = np.random.default_rng(0)


def points(mean, count=300, labels=None, probabilities=None):
    rng = np.random.default_rng(len(mean) + int(10 * mean[0]))
    x = (rng.standard_normal((count, len(mean))) + mean).astype(np.float32)
    return FeatureSet(x, features.Features(x, probabilities), labels)


NEAR, FAR = points([0.0, 0.0]), points([4.0, 3.0])


def value(name, comparison):
    return {full.partition("/")[0]: one.value for full, one in metrics.measure([name], comparison, "f").items()}


def test_the_reference_is_what_samples_are_compared_with():
    same = Comparison(NEAR, NEAR, FAR, reference_is_training=True)
    other = Comparison(NEAR, FAR, NEAR, reference_is_training=True)
    for name in ("frechet", "kernel", "sliced_wasserstein", "energy"):
        [near], [far] = value(name, same).values(), value(name, other).values()
        assert near < 0.05 < 5 * max(near, 0.05) < far, name
    np.testing.assert_allclose(value("frechet", other)["frechet"], 25, rtol=0.1)  # |(4, 3)|^2
    assert value("precision_recall", same) == {"precision": 1.0, "recall": 1.0}
    assert value("density_coverage", other)["coverage"] < 0.2


def test_a_ratio_is_1_for_other_real_examples():
    other = points([0.5, 0.0])
    comparison = Comparison(other, NEAR, other, reference_is_training=True)
    np.testing.assert_allclose(value("frechet_ratio", comparison)["frechet_ratio"], 1, rtol=1e-9)
    with pytest.raises(ValueError, match=r"frechet_ratio of 300 samples needs as many real examples .* there are 100"):
        metrics.measure(["frechet_ratio"], Comparison(other, NEAR, other.first(100), True), "f")


@pytest.mark.parametrize("reference_is_training", [True, False])
def test_memorisation_is_of_the_training_data_whichever_is_the_reference(reference_is_training):
    training, held_out = NEAR, points([8.0, 0.0])
    sets = (training, held_out) if reference_is_training else (held_out, training)
    found = value("memorisation", Comparison(training, *sets, reference_is_training))
    assert found["memorisation"] == 1.0 and found["memorisation_of_held_out"] < 0.5


def test_classifiers_tell_agreement_and_diversity():
    labels = np.arange(300) % 3
    certain = np.eye(3, dtype=np.float32)[labels]
    generated = FeatureSet(NEAR.examples, features.Features(NEAR.examples, certain), labels)
    comparison = Comparison(generated, points([0.0, 0.0], labels=labels), None, True)
    assert value("label_agreement", comparison)["label_agreement"] == 1.0
    np.testing.assert_allclose(value("diversity", comparison)["diversity"], 1.0, rtol=0.15)
    np.testing.assert_allclose(value("inception_score", comparison)["inception_score"], 3.0, rtol=0.05)
    for name, said in (
        ("label_agreement", "needs labels"),
        ("inception_score", "needs features of a classifier"),
        ("memorisation", "needs training and held-out examples"),
        ("frechet_wavelet", "is for images"),
        ("fid", "there is no metric 'fid', but frechet, "),
    ):
        with pytest.raises(ValueError, match=said):
            metrics.measure([name], Comparison(NEAR, NEAR, None, True), "f")


def test_images_are_compared_by_wavelets_at_any_size():
    x = RNG.integers(0, 256, (20, 12, 8, 3), np.uint8)
    images = FeatureSet(x, features.Features(x.reshape(20, -1).astype(np.float32), None))
    assert metrics.measure(["frechet_wavelet"], Comparison(images, images, None, True), "f") == {
        "frechet_wavelet@20": Estimate(0.0, pytest.approx(math.nan, nan_ok=True))
    }


def test_only_inception_at_50_000_is_called_fid():
    assert metrics.full_name("frechet", "inception_2015", 50_000) == "FID"
    assert metrics.full_name("frechet", "inception_2015", 10_000) == "frechet/inception_2015@10000"
    assert metrics.full_name("frechet", "efficientnet_lite0", 50_000) == "frechet/efficientnet_lite0@50000"
    assert metrics.higher_is_better("recall/pixels@10") and not metrics.higher_is_better("frechet/pixels@10")


def record(value=1.0, metric="frechet/pixels@10", **settings):
    settings = {"reference": "digits", "weights": "", "labels": "equal", "rounding": "rint"} | settings
    return measurement.Measurement(metric, value, 0.1, 10, (0,), settings, {"run": "a", "num_evaluations": 5})


@pytest.mark.parametrize("key", ["reference", "weights", "labels", "rounding"])
def test_values_that_differ_in_what_has_to_agree_are_refused(key):
    changed = {key: "another"}
    measurement.check_comparable([record(), record(2.0), record(metric="kernel/pixels@10", **changed)])
    with pytest.raises(ValueError, match=rf"two values of frechet/pixels@10 cannot be compared: their {key} differ"):
        measurement.check_comparable([record(), record(**changed)])


def test_what_is_not_known_of_foreign_samples_is_said_and_differs_from_nothing():
    settings = {"reference": "r", "features": "pixels", "preprocessing": "p"}
    rows = [
        measurement.Measurement("frechet/pixels@10", 1.0, None, 10, (0,), settings | more, {"run": run})
        for run, more in (("theirs", {"rounding": None}), ("a", {"rounding": "rint"}), ("b", {"rounding": "floor"}))
    ]
    measurement.check_comparable(rows[:2])
    assert "The rounding of theirs is not known; others have: rint." in table.text(rows[:2], None)
    assert "not known" not in table.text(rows[1:2], None)
    with pytest.raises(ValueError, match=r"their rounding differ, rint and floor \(of a and b\)"):
        measurement.check_comparable(rows)


def test_over_seeds():
    mean, error = measurement.over_seeds({0: Estimate(1.0, 9.0), 1: Estimate(2.0, 9.0), 2: Estimate(6.0, 9.0)})
    assert mean == 3.0 and error == pytest.approx(np.std([1, 2, 6], ddof=1) / np.sqrt(3))
    assert measurement.over_seeds({4: Estimate(1.0, 0.5)}) == (1.0, 0.5)
    assert measurement.over_seeds({4: Estimate(1.0, math.nan)}) == (1.0, None)


def test_a_value_in_features_that_were_trained_on_says_so(tmp_path):
    settings = {"reference": "r", "features": "classifier", "preprocessing": "p"}
    rows = [
        measurement.Measurement("frechet/classifier@10", value, None, 10, (0,), settings, {"run": run} | more)
        for run, value, more in (("a", 0.5, {}), ("b", 0.1, {"remark": measurement.TRAINED_ON}))
    ]
    table.write(tmp_path, rows, None, {})
    records = json.loads((tmp_path / "results.json").read_text())["measurements"]
    assert [one.get("remark") for one in records] == [None, "trained on these features"]
    written = (tmp_path / "table.md").read_text()
    assert "| b | 0.1 (trained on these features) |" in written and "| a | 0.5 |" in written
    assert "A value with (trained on these features) says how far training came" in written
    assert (tmp_path / "table.csv").read_text().splitlines()[2].endswith(",trained on these features")
    assert "(trained on" not in table.text(rows[:1], None)


def test_values_that_do_not_rank_are_on_no_front_and_select_nothing(tmp_path, monkeypatch):
    def marked(run, evaluations, value, **more):
        subject = {"run": run, "num_evaluations": evaluations} | more
        settings = {"reference": "r", "features": "classifier", "preprocessing": "p"}
        return measurement.Measurement("frechet/classifier@10", value, None, 10, (0,), settings, subject)

    remark = {"remark": measurement.TRAINED_ON}
    rows = [marked("a", 1, 0.5), marked("a", 2, 0.4), marked("b", 1, 0.1, **remark), marked("b", 2, 0.1, **remark)]
    drawn = {}
    monkeypatch.setattr(table.plots, "lines", lambda path, panels, **_: drawn.update(panels))
    table.write(tmp_path, rows, None, {})
    assert drawn["frechet/classifier@10"]["Pareto front"] == ([1, 2], [0.5, 0.4])
    assert metrics.best(rows) == 1
    with pytest.raises(ValueError, match="frechet/classifier@10 rank no model: all were trained on these features"):
        metrics.best(rows[2:])


def test_a_table_is_written_as_text_numbers_and_figure(tmp_path):
    subject = {"run": "a|b", "step": 3, "sampler": "ddim", "guidance": 1.0, "average": "c"}
    rows = [
        measurement.Measurement(
            metric, 10.0 / evaluations + index, 0.25, 10, (0, 1),
            {"reference": "r", "features": "pixels", "preprocessing": "p"},
            subject | {"num_evaluations": evaluations},
        )
        for evaluations in (5, 10)
        for index, metric in enumerate(("frechet/pixels@10", "recall/pixels@10"))
    ]  # fmt: skip
    table.write(tmp_path / "t", rows, None, {"command": "c"})
    assert json.loads((tmp_path / "t" / "results.json").read_text())["measurements"][2]["num_evaluations"] == 10
    lines = (tmp_path / "t" / "table.md").read_text().splitlines()
    assert lines[0] == "| run | evaluations | frechet/pixels@10 | recall/pixels@10 |"
    assert lines[2] == "| a\\|b | 5 | 2.00 ± 0.25 | 3.00 ± 0.25 |"
    csv = (tmp_path / "t" / "table.csv").read_text().splitlines()
    assert csv[1] == "a|b,3,ddim,5,1.0,c,frechet/pixels@10,2.0,0.25,10,0 1,"
    assert (tmp_path / "t" / "quality.png").stat().st_size > 1000


def test_real_examples_of_other_levels_become_bytes_and_features_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = RNG.integers(0, 17, (50, 4, 4, 1), np.uint8)
    digits = data.dataset.Dataset(name="d", examples=x, num_levels=17)
    bytes_of, _ = real.raw(digits, np.arange(50))
    np.testing.assert_array_equal(bytes_of, np.rint(x.astype(np.float64) * 255 / 16))
    rows = real.rows_of(digits, 20, seed=1)
    assert len(set(rows.tolist())) == 20 and (np.diff(rows) > 0).all()
    calls = []

    class Counted:
        name, preprocessing, checksum = "counted", "none", "1"

        def __call__(self, examples):
            calls.append(len(examples))
            return features.Features(examples.reshape(len(examples), -1).astype(np.float32), None)

    first, again = (real.features(Counted(), digits, 20, seed=1) for _ in range(2))
    assert calls == [20]
    np.testing.assert_array_equal(first.features.values, again.features.values)
    np.testing.assert_array_equal(first.examples, bytes_of[rows])
