"""diffusers still gives the goldens that `make test` holds our samplers against."""

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="make test-peers has it")

from tests.peers.diffusers_schedulers import CASES, GOLDENS, NOISE, START, trajectory


def test_the_same_start_and_noise():
    stored = np.load(GOLDENS.with_suffix(".npz"))
    np.testing.assert_array_equal(stored["start"], START)
    np.testing.assert_array_equal(stored["noise"], NOISE)
    assert {name.rsplit("/", 1)[0] for name in stored.files} - {"start", "noise"} == set(CASES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_goldens_are_what_diffusers_gives(name):
    stored, fresh = np.load(GOLDENS.with_suffix(".npz")), trajectory(name)
    for key, value in fresh.items():
        # Their coefficients are float32, whose last bit differs between machines.
        np.testing.assert_allclose(stored[f"{name}/{key}"], value, rtol=1e-5, atol=1e-6)
