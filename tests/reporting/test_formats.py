import math

import pytest

from diffax.reporting import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "True"), ("a", "a"), (12000, "12,000"), (0.123456, "0.1235"), (12000.0, "12,000"), (3.0, "3")],
)
def test_numbers(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.12345, 0.0056, "0.1235 ± 0.0056"),
        (12.345, 1.23, "12.3 ± 1.2"),
        (1234.5, 12.3, "1,234 ± 12"),
        (0.5, 0.1, "0.50 ± 0.10"),
        (0.5, None, "0.5"),
        (0.5, 0.0, "0.5"),
        (0.5, math.nan, "0.5"),
        (math.nan, 0.1, "nan ± 0.1"),
        (1e-9, 2e-10, "1e-09 ± 2.0e-10"),
        (None, 0.1, ""),
    ],
)
def test_values_have_the_decimals_of_their_errors(value, error, text):
    assert formats.with_error(value, error) == text


def test_ticks():
    assert [formats.tick(v) for v in (0.25, 0.0, 2000, 20_000, 1.5e6, 1e-5)] == [
        "0.25",
        "0",
        "2000",
        "20k",
        "1.5M",
        "1e-05",
    ]
