"""Pairs of noise and sample as a data source: read back, gathered with their noise, and what would break them."""

import json

import jax
import numpy as np
import pytest

from diffax import build_data, data, resolve
from diffax import config as settings
from diffax.data import shards

RNG = np.random.default_rng(0)
X, EPS = RNG.normal(size=(2, 120, 4, 4, 1)).astype(np.float32)
LABELS = np.arange(120, dtype=np.int32) % 3
DESCRIPTION = {"noise": "initial", "num_levels": 17, "class_names": None, "num_classes": 5, "format": 1}


@pytest.fixture
def pairs(tmp_path):
    """A set of pairs in two shards."""
    (tmp_path / shards.DESCRIPTION).write_text(json.dumps(DESCRIPTION))
    for rows in (slice(0, 70), slice(70, 120)):
        place = RNG.normal(size=(rows.stop - rows.start, 3)).astype(np.float32)
        arrays = {"samples": X[rows], "noise": EPS[rows], "labels": LABELS[rows], "place": place}
        np.savez(tmp_path / shards.filename(rows.start, rows.stop), **arrays)
    return tmp_path


def config_of(path, **overrides):
    config = settings.default()
    config.data = settings.choice("pairs", path=str(path))
    config.train.batch_size = 8
    return resolve.resolve(resolve.override(config, [(key, str(value)) for key, value in overrides.items()]))


def test_pairs_keep_noise_labels_columns_and_levels(pairs):
    whole = data.pairs.load_pairs("all", path=str(pairs))
    np.testing.assert_array_equal(whole.examples, X)
    np.testing.assert_array_equal(whole.eps, EPS)
    assert (whole.num_classes, whole.num_levels, list(whole.columns)) == (5, 17, ["place"])
    np.testing.assert_array_equal(whole.to_network_range(X[:3]), X[:3])  # they are in it already
    train, test = (data.pairs.load_pairs(split, path=str(pairs)) for split in ("train", "test"))
    np.testing.assert_array_equal(test.eps, EPS[49::50])
    assert len(train) == 118


@pytest.mark.parametrize("on_device", [True, False])
def test_a_batch_has_its_examples_with_their_own_noise(pairs, on_device):
    config = config_of(pairs, **{"data.on_device": on_device, "conditions.label.drop": 0.1})
    examples = build_data.dataset(config, "train")
    batch = next(build_data.batches(config, examples, 3))
    batch = batch.batch(np.int32(3)) if on_device else batch
    made = build_data.preprocess(config, examples)(batch, jax.random.split(jax.random.key(0), 8))
    distances = np.abs(np.asarray(made["x"])[:, None] - X[None]).max((2, 3, 4))
    rows = distances.argmin(1)
    assert distances.min(1).max() == 0
    np.testing.assert_array_equal(made["eps"], EPS[rows])
    np.testing.assert_array_equal(made["label"], LABELS[rows])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"data.augment": "flip"}, r"data.augment = 'flip' would break the pairs"),
        ({"data.dequantize": True}, r"data.dequantize would break the pairs"),
        ({"loss.stable_targets": True}, r"loss.stable_targets would break the pairs"),
        ({"train.coupling": "sinkhorn"}, r"train.coupling = 'sinkhorn' would break the pairs"),
        ({"data.pad": 1}, r"data.pad must be >= 0 and is for images without noise"),
    ],
)
def test_what_would_break_pairs_is_refused(pairs, overrides, said):
    config = config_of(pairs, **overrides)
    with pytest.raises(ValueError, match=said):
        build_data.preprocess(config, build_data.dataset(config, "train"))


def test_what_are_no_pairs_is_refused_with_the_reason(pairs, tmp_path):
    with pytest.raises(ValueError, match=r"data.name = 'pairs' needs data.path"):
        data.pairs.load_pairs("train")
    with pytest.raises(ValueError, match=r"is no set of pairs: make one of a trained run by --mode reflow"):
        data.pairs.load_pairs("train", path=str(tmp_path / "nowhere"))
    one_step = config_of(pairs, **{"data": "two_moons", "loss.time_density": "fixed"})
    with pytest.raises(ValueError, match=r"trains one step from noise to data, which needs pairs: make them by --mode"):
        build_data.preprocess(one_step, build_data.dataset(one_step, "train"))
    without = {key: value for key, value in DESCRIPTION.items() if key != "noise"}
    (pairs / shards.DESCRIPTION).write_text(json.dumps(without))
    with pytest.raises(ValueError, match=r"holds samples without the noise that they came from: pairs are made by"):
        data.pairs.load_pairs("train", path=str(pairs))


def test_a_run_with_one_set_of_pairs_stands_for_it(pairs, tmp_path):
    run = tmp_path / "run"
    for name in ("one", "other"):
        (run / "pairs" / name).mkdir(parents=True)
        for file in pairs.glob("*.*"):
            (run / "pairs" / name / file.name).write_bytes(file.read_bytes())
        if name == "one":
            np.testing.assert_array_equal(data.pairs.load_pairs("all", path=str(run)).eps, EPS)
    with pytest.raises(ValueError, match=r"has several sets of pairs, choose one in .*run/pairs: one, other"):
        data.pairs.load_pairs("all", path=str(run))


def test_a_dataset_of_pairs_is_checked():
    with pytest.raises(
        ValueError, match=r"eps must be float32 of the examples' shape \(120, 4, 4, 1\), got float32 of"
    ):
        data.dataset.Dataset(name="p", examples=X, eps=EPS[:100]).validate()
    with pytest.raises(ValueError, match=r"p: eps must be finite, got nan at index \(2, 0, 1, 0\)"):
        broken = EPS.copy()
        broken[2, 0, 1, 0] = np.nan
        data.dataset.Dataset(name="p", examples=X, eps=broken).validate()
    with pytest.raises(ValueError, match=r"examples paired with noise must be float32, got uint8"):
        bytes_ = np.zeros((2, 4, 4, 1), np.uint8)
        data.dataset.Dataset(name="p", examples=bytes_, eps=EPS[:2], num_levels=256).validate()
