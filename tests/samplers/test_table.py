"""Tables: what is kept of their columns, what is refused, what they print."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import samplers, schedules
from diffax.samplers.table import check_times, make_table

TIMES = np.array([1.0, 0.5, 0.25])
FLOW = schedules.Flow()


def made(**columns):
    return make_table("made", FLOW, TIMES, **columns)


def test_a_column_of_zeros_is_dropped():
    table = made(a=np.zeros(3), b=np.ones(3), e=np.zeros((3, 2)), c=np.zeros(3))
    assert table.a is None and table.e is None and table.c is None
    assert table.b.shape == (3, 1)
    assert not table.is_stochastic
    assert table.num_evaluations == 3


def test_a_history_is_as_deep_as_its_last_entry_that_is_not_zero():
    b = np.zeros((3, 4))
    b[2, 1] = 0.5
    q = np.zeros((3, 3))
    q[1, 2] = 1.0
    table = made(b=b, q=q, e=np.ones(3), r=np.zeros((3, 5)))
    assert table.b.shape == table.q.shape == (3, 3)
    assert table.e.shape == (3, 1) and table.r is None


def test_the_query_is_the_anchor_unless_a_column_says_otherwise():
    assert made(b=np.ones(3)).p is None
    assert made(b=np.ones(3), p=np.ones(3)).p is None
    np.testing.assert_array_equal(made(b=np.ones(3), q=np.ones(3)).p, 1)
    np.testing.assert_array_equal(made(b=np.ones(3), d=np.ones(3)).p, 1)
    np.testing.assert_array_equal(made(b=np.ones(3), p=[1, 0, 1]).p, [1, 0, 1])
    np.testing.assert_array_equal(made(b=np.ones(3), p=np.zeros(3), q=np.ones(3)).p, 0)


def test_push_is_kept_only_where_a_row_declines():
    assert made(b=np.ones(3), push=[True, True, True]).push is None
    np.testing.assert_array_equal(made(b=np.ones(3), push=[True, False, True]).push, [True, False, True])


def test_noise_anywhere_makes_a_table_stochastic():
    for columns in ({"c": np.ones(3)}, {"d": np.ones(3)}, {"initial_noise": 0.1}):
        assert made(b=np.ones(3), **columns).is_stochastic


def test_the_prior_is_as_wide_as_the_noise_at_the_first_time():
    assert made(b=np.ones(3)).prior_std == 1
    assert make_table("edm", schedules.VarianceExploding(0.01, 50.0), TIMES, b=np.ones(3)).prior_std == pytest.approx(
        50
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.ones(2)}, r"made: column a must have 3 rows, got shape \(2,\)"),
        ({"b": np.ones((4, 2))}, r"made: column b must have 3 rows, got shape \(4, 2\)"),
        ({"c": np.ones((3, 1))}, r"made: column c must have 3 rows"),
        ({"a": [1, np.nan, 1]}, "made: column a is nan at row 1"),
        ({"e": [[1, 2], [1, 2], [np.inf, 1]]}, "made: column e is .*inf.* at row 2"),
        ({"push": [True]}, r"made: column push must have 3 rows, got shape \(1,\)"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        made(**columns)


@pytest.mark.parametrize(
    ("times", "options", "message"),
    [
        ([0.5], {}, "at least two numbers"),
        ([[1.0, 0.5]], {}, r"at least two numbers, got shape \(1, 2\)"),
        ([1.0, 0.5, 0.6], {}, "strictly monotone, got 0.5 and then 0.6 at row 1"),
        ([1.0, 1.0, 0.5], {}, "strictly monotone, got 1 and then 1 at row 0"),
        ([0.1, 0.5, 0.5], {}, "strictly monotone, got 0.5 and then 0.5 at row 1"),
        ([1.5, 0.5], {}, r"must lie in \[0, 1\], got 0.5 to 1.5"),
        ([0.5, np.nan], {}, r"must lie in \[0, 1\]"),
        ([0.1, 0.5], {"decreasing": True}, "must be decreasing, got 0.1 to 0.5"),
        ([0.5, 0.1], {"decreasing": False}, "must be increasing, got 0.5 to 0.1"),
    ],
)
def test_times_that_cannot_be_are_refused(times, options, message):
    with pytest.raises(ValueError, match=message):
        check_times(np.array(times), **options)


def test_a_table_prints_its_name_its_rows_and_its_columns():
    table = samplers.ddpm(schedules.Discrete.linear(), samplers.grids.discrete(1000, 3))
    lines = str(table).splitlines()
    assert lines[0] == "DDPM(small): 3 evaluations"
    assert lines[1].split() == ["row", "t", "a", "b0", "c"]
    assert [line.split()[0] for line in lines[2:]] == ["0", "1", "2"]
    assert float(lines[2].split()[1]) == 1
    everything = np.ones((3, 2))
    columns = {"a": everything[:, 0], "b": everything, "q": everything, "push": [True, False, True]}
    assert str(made(**columns)).splitlines()[1].split() == ["row", "t", "a", "b0", "b1", "p", "q0", "q1", "push"]


def test_tables_are_built_in_float64_from_schedules_in_float32():
    times = samplers.grids.uniform(10)
    exact, learned = schedules.LinearBeta(0.125, 16.0), jax.tree.map(jnp.float32, schedules.LinearBeta(0.125, 16.0))
    for make in (samplers.ddim, samplers.ddpm):
        for one, other in zip(jax.tree.leaves(make(exact, times)), jax.tree.leaves(make(learned, times)), strict=True):
            assert np.asarray(other).dtype == np.float64
            np.testing.assert_allclose(other, one, rtol=1e-12)


class Irreversible:
    """A schedule of somebody's own that nobody has inverted."""

    def __init__(self):
        self._cosine = schedules.Cosine()
        self.alpha, self.sigma, self.log_snr = self._cosine.alpha, self._cosine.sigma, self._cosine.log_snr

    def time_of(self, log_snr):
        raise NotImplementedError


@pytest.mark.parametrize(
    "made",
    [
        lambda schedule: samplers.grids.log_snr(schedule, 5, start=0.9),
        lambda schedule: samplers.dpm_solver(schedule, [0.9, 0.5, 0.2], order=2),
        lambda schedule: samplers.midpoint(schedule, [0.9, 0.5, 0.2], variable="sigma"),
    ],
)
def test_a_schedule_without_an_inverse_is_refused_where_it_is_needed_and_only_there(made):
    with pytest.raises(ValueError, match="Irreversible has no inverse of its log-SNR"):
        made(Irreversible())
    assert samplers.unipc(Irreversible(), [0.9, 0.7, 0.5, 0.2]).num_evaluations == 3
