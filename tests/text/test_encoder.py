"""Encoders that are functions: what they return is checked, and what is no encoder is refused, in a line each."""

import hashlib
import inspect
import subprocess
import sys

import numpy as np
import pytest

from diffax import text
from tests.text import own_encoders

OWN = "tests.text.own_encoders:"
TEXTS = ["a thin seven", "zero"]


def test_a_function_gives_vectors():
    encoder = text.open_encoder(OWN + "lengths")
    vectors = encoder(TEXTS)
    np.testing.assert_array_equal(vectors, [[12, 3], [4, 1]])
    assert all(vector.dtype == np.float32 for vector in vectors)
    assert (encoder.name, encoder.form, encoder.max_tokens) == (OWN + "lengths", "vector", None)
    source = inspect.getsource(own_encoders.lengths)
    assert encoder.version == hashlib.sha256(source.encode()).hexdigest()[:16]
    assert encoder([]) == []


def test_a_function_gives_sequences():
    found = text.open_encoder(OWN + "words", form="tokens", max_tokens=2)(TEXTS)
    np.testing.assert_array_equal(found[0], [[1, 1, 2], [4, 1, 2]])
    np.testing.assert_array_equal(found[1], [[4, 1, 2]])


def test_a_function_may_have_a_version_and_use_jax():
    encoder = text.open_encoder(OWN + "in_jax")
    assert encoder.version == "7"
    np.testing.assert_array_equal(encoder(TEXTS), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("too_few", "vector", "expected 2 results for 2 texts, got 1$"),
        ("not_finite", "vector", "result 0: expected finite float32 numbers, got nan$"),
        ("too_large", "vector", "result 0: expected finite float32 numbers, got inf$"),
        ("ragged", "vector", "one width, but result 0 has 2 and result 1 3 numbers a vector$"),
        ("integers", "vector", "result 0: expected floats, got dtype int64$"),
        ("no_array", "vector", r"expected one array per text, got a int \("),
        ("nested_ragged", "tokens", r"expected one array per text, got a list \("),
        ("words", "vector", r'expected .* shape \(size,\), got shape \(3, 3\); is its form "tokens"\?$'),
        ("lengths", "tokens", r'expected .* shape \(length, size\), got shape \(2,\); is its form "vector"\?$'),
    ],
)
def test_wrong_results_are_refused_in_a_line(name, form, message):
    encoder = text.open_encoder(OWN + name, form=form)
    with pytest.raises(ValueError, match=f"^text encoder '{OWN}{name}': .*{message}") as error:
        encoder(TEXTS)
    assert "\n" not in str(error.value)


def test_a_text_without_words_has_no_sequence():
    with pytest.raises(ValueError, match=r"result 1: expected an array of shape \(length, size\), got shape \(0,\)"):
        text.open_encoder(OWN + "words", form="tokens")(["one", ""])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_encoder", "there is no text encoder 'no_such_encoder': expected module:function, .*none; make text"),
        ("", "there is no text encoder ''"),
        ("./no/such/folder", r"^\./no/such/folder: expected the folder of a sentence-transformers model"),
        ("no_such_module:encode", "there is no module 'no_such_module' beside the config file"),
        (OWN + "nothing", "tests.text.own_encoders has no 'nothing', but "),
        (OWN + "number", "expected a function from a list of strings to vectors, got an object of type int"),
        (OWN + "Callable", "got the class Callable"),
        (OWN + "callable_without_version", "the version of a Callable cannot be taken from its source"),
    ],
)
def test_what_is_no_encoder_is_refused_in_a_line(name, message, unchecked):
    with pytest.raises(ValueError, match=message) as error:
        text.open_encoder(name)
    assert "\n" not in str(error.value)


def test_wrong_options_and_texts():
    for options, message in [
        ({"form": "sentence"}, 'form must be "vector" or "tokens", got \'sentence\''),
        ({"max_tokens": 3}, "max_tokens needs form \"tokens\", got max_tokens 3 with 'vector'"),
        ({"form": "tokens", "max_tokens": 0}, "max_tokens must be >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            text.open_encoder("all-minilm-l6-v2", **options)


def test_texts_are_a_list_of_valid_strings(unchecked):
    encoder = text.open_encoder(OWN + "lengths")
    for texts, message in [
        ("zero", "expected a list of texts, got the single text 'zero'"),
        (["zero", None], "expected texts, got None, a NoneType"),
        (["\ud800"], r"is no valid Unicode \(surrogates not allowed\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            encoder(texts)


def test_the_room_imports_no_jax():
    code = "import sys, diffax.text; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
