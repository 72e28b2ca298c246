"""config.conditions: every kind of condition from the data, and what is said where they do not have it."""

import jax
import numpy as np
import pytest

from diffax import build, build_conditions, build_data, conditions
from diffax.conditions import Classes, Tokens, Vector
from tests.settings.changed import assert_complete, changed

ENCODER = "tests.text.own_encoders:lengths"
WORDS = "tests.text.own_encoders:words"
POINTS = {"data": "tests.told:points"}
CASES = [
    ("label", {}),
    ("vector", {"column": "place"}),
    ("tokens", {"column": "path", "max_tokens": 3}),
    ("text", {"column": "other", "encoder": WORDS, "form": "tokens", "max_tokens": 2}),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Encoded texts are kept here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def told(**settings):
    """Both splits with conditions, {"NAME__OPTION": value}."""
    paths = {f"conditions.{key.replace('__', '.')}": value for key, value in settings.items()}
    return build_data.splits(changed(POINTS | paths))


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [(*case, kind) for case, kind in zip(CASES, [Classes(3), Vector(2), Tokens(3), Tokens(3)], strict=True)],
)
def test_kinds(name, options, kind):
    train, held_out = told(**{"it__name": name} | {f"it__{key}": value for key, value in options.items()})
    assert train.kinds == held_out.kinds == {"it": kind}
    value = train.batch(np.arange(6))["it"]
    if name == "tokens":
        np.testing.assert_array_equal(value.mask.sum(1), [1, 2, 0, 3, 1, 2])  # cut to three; the third has none
    if name == "text":  # one, two or three wordings of three words, of which two are kept; the fifth has none
        np.testing.assert_array_equal(value.count, [1, 2, 3, 1, 1, 3])
        np.testing.assert_array_equal(value.values.mask[:, 0].sum(1), [2, 2, 2, 2, 0, 2])


def test_every_name_and_option_is_here():
    assert_complete("conditions", CASES)


def test_texts_are_vectors_of_the_encoder():
    train, _ = told(text__encoder=ENCODER)
    caption = train.columns["caption"][5][1]
    np.testing.assert_array_equal(train.batch(np.array([5]))["text"].values[0, 1], [len(caption), len(caption.split())])


def test_functions_of_the_examples():
    train, held_out = told(bright="tests.told:brightness", side="tests.told:side")
    assert train.kinds == {"bright": Vector(1), "side": Classes(2)} == held_out.kinds
    batch = train.batch(np.arange(5))
    np.testing.assert_array_equal(batch["bright"], batch["x"][:, :1])
    np.testing.assert_array_equal(batch["side"], batch["x"][:, 0] > 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"place": "text"}, "conditions.place: the text encoder"),
        (
            {"place__name": "vector", "place__column": "nowhere"},
            r"conditions.place.column = 'nowhere': told/train has the columns caption",
        ),
        ({"path": "vector"}, "conditions.path is of vectors, and the column 'path' of told/train holds sequences"),
        (
            {"caption": "tokens"},
            "conditions.caption is of sequences, and the column 'caption' of told/train holds texts",
        ),
        ({"text__column": "place", "text__encoder": ENCODER}, "conditions.text is of texts, and .* holds vectors"),
        ({"text__encoder": "tests.text.own_encoders:not_finite"}, "finite"),
        ({"bright": "tests.told:not_finite"}, "conditions.bright: its function gave what is not finite for example 3"),
        (
            {"x": "label"},
            "conditions.x: a condition's name must be an identifier, and none of x, eps, augmentation, span",
        ),
        ({"label__drop": 1.5}, r"conditions.label.drop must be in \[0, 1\], got 1.5"),
        ({"text__encoder": ENCODER, "text__form": "matrix"}, "form"),
    ],
)
def test_what_the_data_do_not_have_is_said(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        told(**settings)
    assert "\n" not in str(caught.value)


def test_labels_that_are_not_there():
    with pytest.raises(ValueError, match=r"conditions.label needs labels, and the data have none"):
        build_data.splits(changed({"data": "tests.told:images", "conditions.label": "label"}))


def test_each_is_dropped_with_its_own_probability():
    config = changed(
        POINTS | {"conditions.label.drop": 0.5, "conditions.place": "vector", "conditions.place.drop": 0.0}
    )
    kinds = {"label": Classes(3), "place": Vector(2)}
    drop = build_conditions.dropping(config, kinds)
    keys = jax.random.split(jax.random.key(0), 1000)
    values = {"label": np.zeros(1000, np.int32), "place": np.ones((1000, 2), np.float32)}
    got = drop(keys, values)
    assert abs((np.asarray(got["label"]) == 3).mean() - 0.5) < 0.08  # five standard deviations
    np.testing.assert_array_equal(got["place"], values["place"])
    together = changed(
        POINTS | {"conditions.label.drop": 0.1, "conditions.place": "vector", "model.drop_together": 1.0}
    )
    got = build_conditions.dropping(together, kinds)(keys, values)
    assert (np.asarray(got["label"]) == 3).all() and not np.asarray(got["place"]).any()
    with pytest.raises(ValueError, match=r"model.drop_together must be in \[0, 1\], got 2"):
        build_conditions.sources(changed({"model.drop_together": 2}))
    assert build_conditions.dropping(changed(POINTS), {}) is None


def test_a_network_that_declares_others_is_refused():
    with pytest.raises(ValueError, match=r"conditions none, and the configuration .* gives label: Classes\(num=3\)"):
        build.network(changed({"model": "tests.told:Deaf"}), (2,), {"label": Classes(3)})
    assert conditions.class_condition({}) is None
