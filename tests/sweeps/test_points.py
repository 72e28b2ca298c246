"""Points: their combinations, names and hashes."""

import hashlib
import importlib
import json
import pathlib

import pytest

from diffax import config as settings
from diffax import config_file, resolve, sweeps
from diffax.sweeps import points

ROOT = pathlib.Path(__file__).parents[2]
BASE = settings.default()


def test_product_has_every_combination_the_last_axis_fastest():
    made = sweeps.product(
        {"schedule.name": ["cosine", "flow"], "optimizer.learning_rate": (1e-3, 2e-3)}, sweeps.seeds(2)
    )
    assert [tuple(point.values()) for point in made] == [
        (name, rate, seed) for name in ("cosine", "flow") for rate in (1e-3, 2e-3) for seed in (0, 1)
    ]
    assert set(made[0]) == {"schedule.name", "optimizer.learning_rate", "seed"}


def test_named_and_zipped_points():
    made = sweeps.product(sweeps.named(base={}, wide={"model.channels": 64}), sweeps.named(slow={"seed": 3}))
    assert made == [{"name": "base-slow", "seed": 3}, {"name": "wide-slow", "model.channels": 64, "seed": 3}]
    assert sweeps.zipped({"a": [1, 2], "b": ["", "y"]}) == [{"a": 1, "b": ""}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sweeps.zipped({"a": [1], "b": [1, 2]}), "as long as each other"),
        (lambda: sweeps.product({"seed": 3}), "seed needs a sequence of values, got 3"),
        (lambda: sweeps.product({"seed": [1]}, sweeps.seeds(2)), "two axes of a product change seed"),
        (lambda: points.resolved(BASE, {"seed": 1}), "iterable of override dictionaries, got dict"),
        (lambda: points.resolved(BASE, [("seed", 1)]), "point 1 must be an override dictionary"),
        (lambda: points.resolved(BASE, []), "gave no point"),
        (lambda: points.resolved(BASE, [{}, {"sede": 1}]), "point 2 (sede=1): there is no setting sede"),
        (lambda: points.resolved(BASE, [{"seed": 0.5}]), "point 1 (seed=0.5): seed must be a whole number"),
    ],
)
def test_bad_points_are_named_in_one_line(unchecked, make, said):
    with pytest.raises(ValueError) as raised:
        make()
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_name_is_the_hash_of_the_resolved_config():
    [made] = points.resolved(BASE, [{"schedule.name": "linear_beta", "seed": 2}])
    by_hand = resolve.resolve(resolve.override(BASE, [("seed", "2"), ("schedule.name", "linear_beta")]))
    digest = hashlib.sha256(json.dumps(by_hand.to_dict(), sort_keys=True).encode()).hexdigest()
    assert made.name == f"linear_beta-seed2-{digest[:10]}" and made.config == by_hand


def test_points_of_one_config_are_one_and_choices_are_values():
    choice = settings.choice("min_snr", gamma=3.0)
    spelled = {"loss.weighting.name": "min_snr", "loss.weighting.gamma": "3"}
    made = points.resolved(BASE, [{"loss.weighting": choice}, spelled, {}])
    assert len(made) == 2 and made[0].config.loss.weighting.gamma == 3.0 and made[1].name.startswith("base-")
    assert points.differing(made)[0] == "loss.weighting.name"


def test_a_value_that_another_setting_takes_from_is_taken_from_it():
    base = settings.default()
    base.parameterization, base.loss.weighting = settings.choice("edm", sigma_data=0.5), settings.choice("edm")
    [made] = points.resolved(base, [{"parameterization.sigma_data": 0.7}])
    assert made.config.loss.weighting.sigma_data == 0.7


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "sweeps").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_sweep_file_resolves_and_is_a_lab_note(file):
    note = importlib.import_module(f"configs.sweeps.{file.stem}").__doc__
    [words] = [line.split() for line in note.splitlines() if "launch.py" in line]
    assert f"configs/sweeps/{file.name}" in words and "Cost:" in note
    base = config_file.load(str(ROOT / words[words.index("--config") + 1]))
    made = points.resolved(base, config_file.call(str(file), ("get_points",), "--sweep"))
    assert len(made) == {"cifar_small": 6, "parameterizations": 12, "schedules": 9, "seeds": 8}[file.stem]
    assert len({point.name for point in made}) == len(made)
