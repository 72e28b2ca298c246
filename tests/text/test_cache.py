"""Each text is encoded once, whatever kills or shares the cache; a damaged file is refused in a line."""

import dataclasses
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from diffax import text
from diffax.text import cache as caches

TEXTS = ["one", "two", "one", "", "ü and 二", "one\0two"]


class Counting:
    """An encoder's function that keeps the texts that it was called with."""

    def __init__(self, width=3, stop_at=None):
        self.width, self.stop_at, self.texts = width, stop_at, []

    def __call__(self, texts):
        if self.stop_at is not None and len(self.texts) + len(texts) > self.stop_at:
            raise KeyboardInterrupt
        self.texts += texts
        return [vector(each, self.width) for each in texts]


def vector(text, width=3):
    return np.float32(1 / 3) * np.arange(len(text), len(text) + width, dtype=np.float32)


def encoder(function, **changed):
    return dataclasses.replace(text.Encoder("own:encode", "1", "vector", function), **changed)


def test_each_text_is_encoded_once():
    first, second, done = Counting(), Counting(), []
    found = text.encoded(encoder(first), TEXTS, report=lambda *counts: done.append(counts))
    np.testing.assert_array_equal(found, [vector(each) for each in TEXTS])
    assert sorted(first.texts) == sorted(set(TEXTS)) and done == [(0, 5), (5, 5)]
    assert found[0] is found[2] and not found[0].flags.writeable
    again = text.encoded(encoder(second), [*TEXTS, "three"], report=lambda *counts: done.append(counts))
    assert second.texts == ["three"] and done[2:] == [(0, 1), (1, 1)]
    np.testing.assert_array_equal(again[:-1], found)
    assert not again[0].flags.writeable
    text.encoded(encoder(second), TEXTS, report=lambda *counts: done.append(counts))
    assert len(done) == 4 and text.encoded(encoder(second), []) == []


def test_sequences_keep_their_lengths():
    def function(texts):
        return [np.full((1 + len(each), 2), len(each), np.float32) for each in texts]

    tokens = encoder(function, form="tokens")
    fresh, cached = text.encoded(tokens, TEXTS), text.encoded(tokens, TEXTS)
    for each, before, after in zip(TEXTS, fresh, cached, strict=True):
        assert after.shape == (1 + len(each), 2) and after.dtype == np.float32
        np.testing.assert_array_equal(before, after)


def test_another_encoder_version_form_or_length_has_its_own_results():
    def tokens(texts):
        return [np.ones((3, 2), np.float32) for _ in texts]

    shapes = [(3,), (3,), (3,), (3, 2), (2, 2)]
    changes = [{}, {"version": "2"}, {"name": "other:encode"}, {"form": "tokens"}, {"form": "tokens", "max_tokens": 2}]
    for shape, change in zip(shapes, changes, strict=True):
        function = tokens if "form" in change else Counting()
        assert text.encoded(encoder(function, **change), ["one"])[0].shape == shape
        if isinstance(function, Counting):
            assert function.texts == ["one"]


def test_an_interrupted_run_goes_on(monkeypatch):
    monkeypatch.setattr(caches, "CHUNK", 10)
    many = [f"text {index}" for index in range(45)]
    stopped, rest = Counting(stop_at=30), Counting()
    with pytest.raises(KeyboardInterrupt):
        text.encoded(encoder(stopped), many)
    text.encoded(encoder(rest), many)
    assert len(stopped.texts) == 30 and sorted(stopped.texts + rest.texts) == sorted(many)


PROGRAM = """
import os, sys
import numpy as np
from diffax import text
from diffax.text import cache

cache.CHUNK = 10
calls = []

def function(texts):
    calls.append(texts)
    if len(calls) > int(sys.argv[1]):
        os.kill(os.getpid(), 9)
    return [np.full(3, len(each), np.float32) for each in texts]

many = [f"text {index}" for index in range(60)]
found = text.encoded(text.Encoder("own:encode", "1", "vector", function), many)
assert all((vector == len(each)).all() for vector, each in zip(found, many))
"""


def start(calls):
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(calls)])


def test_processes_share_a_file_and_one_may_be_killed():
    running = [start(2), start(99)]
    assert [process.wait(60) for process in running] in ([-9, 0], [0, 0])  # 0: the other one was faster
    function = Counting()
    found = text.encoded(encoder(function), [f"text {index}" for index in range(60)])
    assert not function.texts and len(found) == 60


def test_a_text_that_another_process_has_written_stays(cache):
    shared = caches.Cache(cache / "a.sqlite")
    shared.write({"one": vector("one")})
    shared.write({"one": 2 * vector("one"), "two": vector("two")})
    found = shared.read(["two", "one", "three"])
    assert found.keys() == {"one", "two"}
    np.testing.assert_array_equal([found["one"], found["two"]], [vector("one"), vector("two")])


@pytest.mark.parametrize("damage", ["no database", "truncated", "another table", "changed numbers"])
def test_a_damaged_file_is_refused_in_a_line(damage):
    texts = [f"text {index}" for index in range(300)]
    made = encoder(Counting())
    text.encoded(made, texts)
    path = caches.path_of(made)
    content = path.read_bytes()
    match damage:
        case "no database":
            path.write_bytes(b"x" * 5000)
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "another table":
            path.unlink()
            with sqlite3.connect(path) as connection:
                connection.execute("CREATE TABLE encoded (word TEXT)")
            connection.close()
        case "changed numbers":
            stored = vector("text 7").tobytes()
            path.write_bytes(content.replace(stored, stored[::-1]))
    with pytest.raises(ValueError, match=r"own-encode-vector-.*\.sqlite: the cache .* is damaged .*delete it") as error:
        text.encoded(made, texts)
    assert "\n" not in str(error.value)
    path.unlink()
    assert len(text.encoded(made, texts)) == 300


def test_a_cache_that_cannot_be_written_is_no_error(cache, monkeypatch):
    cache.mkdir(parents=True)
    (cache / "text").write_text("a file where the folder would be")
    function = Counting()
    for _ in range(2):
        np.testing.assert_array_equal(text.encoded(encoder(function), ["one"]), [vector("one")])
    assert function.texts == ["one", "one"]
    (cache / "text").unlink()
    text.encoded(encoder(function), ["one"])

    def read_only(path, **options):
        return connect(f"file:{path}?mode=ro", uri=True, **options)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", read_only)
    assert len(text.encoded(encoder(function), ["one", "two"])) == 2
    assert function.texts == ["one", "one", "one", "two"]
    assert os.listdir(cache / "text") == [caches.path_of(encoder(function)).name]


def test_vectors_of_another_width_under_the_same_version_are_refused():
    text.encoded(encoder(Counting()), ["one"])
    with pytest.raises(
        ValueError, match="'own:encode': vectors of 4 numbers, but others of 3 under the same version '1'"
    ):
        text.encoded(encoder(Counting(width=4)), ["one", "two"])
    assert text.encoded(encoder(Counting()), ["one"])[0].shape == (3,)
