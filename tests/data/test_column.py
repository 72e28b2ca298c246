"""One column: raw cells of every type to texts, vectors or sequences, or one line that says what is wrong."""

import numpy as np
import pytest

from diffax.data import column

NOTHING = [None, [], [None]]


def test_texts_of_one_or_several_wordings():
    raw = ["a cat ", ["a dog", " ", None, "the dog"], None, "", [], ("x",), np.array(["p", "q"])]
    expected = [("a cat",), ("a dog", "the dog"), (), (), (), ("x",), ("p", "q")]
    assert column.normalised(raw, "c") == expected
    assert column.normalised(expected, "c") == expected and column.kind(expected) == "texts"
    assert column.missing(expected).tolist() == [False, False, True, True, True, False, False]
    assert column.size(expected) is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8])
def test_vectors_whole_as_an_array_or_as_lists(dtype):
    numbers = np.arange(12).reshape(4, 3).astype(dtype)
    for raw in (numbers, numbers.tolist(), list(numbers), [tuple(row) for row in numbers.tolist()]):
        content = column.normalised(raw, "c")
        assert isinstance(content, np.ndarray) and content.dtype == np.float32
        np.testing.assert_array_equal(content, numbers)
    assert column.kind(content) == "vectors" and column.size(content) == 3 and not column.missing(content).any()


def test_vectors_of_which_some_are_missing():
    content = column.normalised([[1, 2], None, np.array([3.5, 4.0]), []], "c")
    assert isinstance(content, list) and [None if cell is None else cell.tolist() for cell in content] == [
        *([1, 2], None, [3.5, 4.0], None)
    ]
    assert {cell.dtype for cell in content if cell is not None} == {np.dtype(np.float32)}
    assert (column.kind(content), column.size(content)) == ("vectors", 2)
    assert column.missing(content).tolist() == [False, True, False, True]


def test_sequences_of_varying_length():
    content = column.normalised([[[1, 2]], None, np.ones((3, 2)), np.zeros((0, 2)), [[5, 6], [7, 8]]], "c")
    assert [None if cell is None else cell.shape for cell in content] == [(1, 2), None, (3, 2), None, (2, 2)]
    assert content[4].tolist() == [[5, 6], [7, 8]] and content[0].dtype == np.float32
    assert (column.kind(content), column.size(content)) == ("sequences", 2)
    cube = np.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(np.stack(column.normalised(cube, "c")), cube)


def test_a_column_without_any_cell():
    assert column.normalised(NOTHING, "c") == [None] * 3 and column.kind([None]) == "nothing"
    assert column.normalised(["", None], "c") == [(), ()] == column.normalised([(), ()], "c")
    assert column.missing([None, None]).all() and column.size([None]) is None


def test_rows_of_every_content():
    rows = np.array([2, 0, 2])
    texts, vectors = [("a",), (), ("b", "c")], np.arange(6, dtype=np.float32).reshape(3, 2)
    assert column.select(texts, rows) == [("b", "c"), ("a",), ("b", "c")]
    np.testing.assert_array_equal(column.select(vectors, rows), [[4, 5], [0, 1], [4, 5]])
    sequences = [np.ones((1, 2)), None, np.zeros((4, 2))]
    chosen = column.select(sequences, rows)
    assert chosen[0] is chosen[2] is sequences[2] and chosen[1] is sequences[0]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["a", [1.0, 2.0]], "c, row 1: expected text as in row 0, got a vector of 2 numbers: give every example"),
        ([None, [1, 2], [1, 2, 3]], "c, row 2: expected a vector of 2 numbers as in row 1, got a vector of 3 numbers"),
        ([[1, 2], [[1, 2]]], "c, row 1: expected a vector of 2 numbers as in row 0, got a sequence of vectors of 2"),
        ([[[1, 2]], [[1, 2, 3]]], "c, row 1: expected a sequence of vectors of 2 numbers as in row 0, got .* of 3"),
        ([[[1, 2]], [[1, 2], [3]]], "c, row 1: expected vectors of one size, got 2 and 1"),
        ([[[1, 2], 3]], "c, row 0: expected vectors of one size, got 2 and 1"),
        (
            np.array([[1, 2], [3, np.nan]]),
            "c, row 1: expected finite numbers, got nan at position 1: mend it, or leave",
        ),
        ([[1, 2], [np.inf, 3]], "c, row 1: expected finite numbers, got inf at position 0"),
        ([[1, 1e39]], r"c, row 0: expected finite numbers, got 1e\+39 at position 1"),
        ([[[1, 2]], [[1, 2], [3, -np.inf]]], r"c, row 1: expected finite numbers, got -inf at position \(1, 1\)"),
        (["a", 3.5], "c, row 1: expected a text, a list of texts, a vector of numbers or a list of vectors, got 3.5"),
        ([{"x": 1}], "c, row 0: expected a text, .* got {'x': 1}"),
        ([b"bytes"], "c, row 0: expected a text, .* got b'bytes'"),
        ([[True, False]], r"c, row 0: expected a text, .* got \[True, False\]"),
        ([["a", 1]], "c, row 0: expected texts only, got 1 among them"),
        ([[1, None]], r"c, row 0: expected a text, .* got \[1, None\]"),
        ([[[[1]]]], r"c, row 0: expected a text, .* got \[\[\[1\]\]\]"),
        (np.array([1.0, 2.0]), "c, row 0: expected a text, .* got "),
        ([["x" * 500, 1]], "c, row 0: expected texts only, got 1"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_row(raw, message):
    with pytest.raises(ValueError, match=f"^{message}") as error:
        column.normalised(raw, "c")
    assert "\n" not in str(error.value) and len(str(error.value)) < 250
