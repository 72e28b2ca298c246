"""experiments.benchmarks.peers: child processes that take turns, errors that stay in their cell, and ratios."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="make test-peers has it")

from experiments.benchmarks.peers import rows, table, turns
from experiments.benchmarks.peers.sizes import Sizes


def test_columns_take_turns_and_one_that_fails_says_why():
    row = rows.ROWS["matrix_product_float32"]
    missing = dataclasses.replace(row.columns[rows.PYTORCH], row="no such row")
    row = dataclasses.replace(row, columns={**row.columns, "missing": missing}, warm_up=1)  # of three calls two count
    found = turns.measure(row, row.columns, Sizes.quick(), rounds=2)
    assert list(found) == [rows.DIFFAX, rows.PYTORCH, "missing"]
    assert found["missing"]["error"] == "KeyError: 'no such row'"
    for column in (rows.DIFFAX, rows.PYTORCH):
        cell = found[column]
        assert len(cell["calls"]) == 2 and cell["amount"] == 2 * 256**3 and cell["unit"] == "FLOP/s"
        assert all(call["seconds"] > 0 for call in cell["calls"]) and cell["peak_bytes"] > 1e7
    assert {"jax", "torch"} <= set(found[rows.DIFFAX]["versions"])
    lines = table.of_row(row.what, found).splitlines()
    assert lines[0] == row.what and "FLOP/s" in lines[1] and "first / this" in lines[2]
    assert lines[3].split(maxsplit=1)[1] == "failed: KeyError: 'no such row'"


def test_processes_that_start_together_take_turns():
    row = rows.ROWS["matrix_product_float32"]
    found = turns.measure(row, row.columns, Sizes.quick(), rounds=1, together=True)
    for cell in found.values():
        assert len(cell["calls"]) == 1 and 0 < cell["ready_seconds"] < 600


def test_one_that_is_awaited_in_vain_leaves_the_others(tmp_path):
    """Programs in place of the interpreter: two that answer at once and one that never does."""
    answers = "echo '@{\"ready\": 1}'; read go; echo '@{\"seconds\": 2}'; cat; echo '@{\"ended\": 3}'"
    for name, text in (("quick", answers), ("slow", "exec cat")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o700)
    cells = {name: rows.Cell("", "", python=str(tmp_path / name.split()[0])) for name in ("slow", "quick", "quick too")}
    found = turns.measure(rows.Row("", cells), cells, Sizes(), rounds=1, together=True, patience=1.0)
    assert found["slow"]["error"] == "no first call within 1 seconds"
    for name in ("quick", "quick too"):
        assert found[name] == {"ready": 1, "calls": [{"seconds": 2}], "ended": 3}


def test_ratios_are_of_neighbouring_calls():
    first, other = ({"calls": [{"seconds": seconds} for seconds in of]} for of in ((1.0, 8.0), (2.0, 4.0)))
    np.testing.assert_allclose(table.ratios(other, first), [0.5, 2.0])
