"""Tables: what is kept of their columns, what is refused, what they print."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import samplers, schedules
from diffax.samplers.table import check_times, make_table

TIMES = np.array([1.0, 0.5, 0.25])
FLOW = schedules.Flow()


def table_with(**columns):
    return make_table("table", FLOW, TIMES, **columns)


def test_a_column_of_zeros_is_dropped():
    table = table_with(a=np.zeros(3), b=np.ones(3), e=np.zeros((3, 2)), c=np.zeros(3))
    assert table.a is None and table.e is None and table.c is None
    assert table.b.shape == (3, 1)
    assert not table.is_stochastic
    assert table.num_evaluations == 3


def test_a_history_is_as_deep_as_its_last_entry_that_is_not_zero():
    b = np.zeros((3, 4))
    b[2, 1] = 0.5
    q = np.zeros((3, 3))
    q[1, 2] = 1.0
    table = table_with(b=b, q=q, e=np.ones(3), r=np.zeros((3, 5)))
    assert table.b.shape == table.q.shape == (3, 3)
    assert table.e.shape == (3, 1) and table.r is None


def test_the_query_is_the_anchor_unless_a_column_says_otherwise():
    assert table_with(b=np.ones(3)).p is None
    assert table_with(b=np.ones(3), p=np.ones(3)).p is None
    np.testing.assert_array_equal(table_with(b=np.ones(3), q=np.ones(3)).p, 1)
    np.testing.assert_array_equal(table_with(b=np.ones(3), d=np.ones(3)).p, 1)
    np.testing.assert_array_equal(table_with(b=np.ones(3), p=[1, 0, 1]).p, [1, 0, 1])
    np.testing.assert_array_equal(table_with(b=np.ones(3), p=np.zeros(3), q=np.ones(3)).p, 0)


def test_push_is_kept_only_where_a_row_declines():
    assert table_with(b=np.ones(3), push=[True, True, True]).push is None
    np.testing.assert_array_equal(table_with(b=np.ones(3), push=[True, False, True]).push, [True, False, True])


def test_noise_anywhere_makes_a_table_stochastic():
    for columns in ({"c": np.ones(3)}, {"d": np.ones(3)}, {"initial_noise": 0.1}):
        assert table_with(b=np.ones(3), **columns).is_stochastic


def test_the_prior_is_as_wide_as_the_noise_at_the_first_time():
    assert table_with(b=np.ones(3)).prior_std == 1
    assert make_table("edm", schedules.VarianceExploding(0.01, 50.0), TIMES, b=np.ones(3)).prior_std == pytest.approx(
        50
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.ones(2)}, r"table: column a must have 3 rows, got shape \(2,\)"),
        ({"b": np.ones((4, 2))}, r"table: column b must have 3 rows, got shape \(4, 2\)"),
        ({"c": np.ones((3, 1))}, r"table: column c must have 3 rows"),
        ({"a": [1, np.nan, 1]}, "table: column a is nan at row 1"),
        ({"e": [[1, 2], [1, 2], [np.inf, 1]]}, "table: column e is .*inf.* at row 2"),
        ({"push": [True]}, r"table: column push must have 3 rows, got shape \(1,\)"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        table_with(**columns)


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


EDM = schedules.VarianceExploding(0.01, 10.0)


@pytest.mark.parametrize(
    "method",
    # A flow map goes to data by itself.
    [m for m in samplers.SAMPLERS if m not in (samplers.ancestral, samplers.flow_map)],
    ids=lambda m: m.__name__,
)
def test_to_data_appends_a_row_that_returns_x_0(method):
    times = samplers.grids.karras(EDM, 6, end=0.1)
    table = method(EDM, times)
    ended = samplers.to_data(table, times[-1])
    assert ended.num_evaluations == table.num_evaluations + 1 and ended.times[-1] == times[-1]
    assert ended.prior_std == table.prior_std and ended.initial_noise == table.initial_noise
    for name, column in table.columns().items():
        np.testing.assert_array_equal(ended.columns()[name][:-1], column)
    # x_0 = 1, eps = 0 and any state make 1 in anchor and query, without noise.
    last = dict.fromkeys(("a", "e0", "c", "q0", "r0", "d"), 0.0) | {"b0": 1.0, "p": 1.0, "push": 1.0}
    for name, column in ended.columns().items():
        assert name == "t" or column[-1] == last.get(name, 0.0), name
    assert all(leaf.dtype in (np.float64, bool) for leaf in jax.tree.leaves(ended) if np.ndim(leaf))

    def halves(x, t):
        return 0.3 * x + t, np.sin(x)

    noise = np.random.default_rng(0).normal(size=(ended.num_evaluations, 4))
    states = samplers.reference_run(halves, ended, np.linspace(-1, 1, 4), noise)
    np.testing.assert_allclose(states[-1], halves(states[-2], times[-1])[0], rtol=1e-12)


def test_to_data_of_ddim_is_a_table_in_closed_form():
    """sigma_s eps + x_0 down a ladder of sigmas, and then x_0."""
    times = np.array([1.0, 0.5, 0.0])
    table = samplers.to_data(samplers.ddim(EDM, times), 0.0)
    np.testing.assert_allclose(table.b[:, 0], 1)
    np.testing.assert_allclose(table.e[:, 0], [np.sqrt(0.1), 0.01, 0.0])
    np.testing.assert_allclose(table.times, times)
    assert table.a is None and table.c is None and table.p is None and table.push is None


def test_to_data_of_a_table_without_x_0():
    """LMS from alpha = 1 weighs eps alone, before a row that is x_0 alone."""
    times = samplers.grids.karras(EDM, 6)
    table = samplers.lms(EDM, times, order=2)
    assert table.b is None
    ended = samplers.to_data(table, times[-1])
    np.testing.assert_array_equal(ended.b[:, 0], [0, 0, 0, 0, 0, 0, 1])
    assert ended.e.shape == (7, 2)


@pytest.mark.parametrize("t", [0.6, -0.1])
def test_to_data_needs_a_time_after_the_last_row(t):
    table = samplers.ddim(EDM, [1.0, 0.5, 0.2])
    with pytest.raises(ValueError, match=r"to_data needs 0 <= t <= 0\.5, the time of the last row of DDIM, got"):
        samplers.to_data(table, t)


def test_every_sampler_takes_a_schedule_and_times_and_has_defaults_for_the_rest():
    assert len({method.__name__ for method in samplers.SAMPLERS}) == len(samplers.SAMPLERS)
    for method in samplers.SAMPLERS:
        assert getattr(samplers, method.__name__) is method and method.__name__ in samplers.__all__
        schedule, times, *options = inspect.signature(method).parameters.values()
        assert (schedule.name, times.name) == ("schedule", "times")
        assert all(o.kind is o.KEYWORD_ONLY and o.default is not o.empty for o in options)
        assert isinstance(method(schedules.Cosine(), samplers.grids.uniform(12)), samplers.SamplerTable)


def test_a_learned_variance_goes_with_the_noise_of_the_state_alone():
    table = table_with(b=np.ones(3), c=np.ones(3), c_large=np.full(3, 2.0))
    assert list(table.columns()) == ["t", "b0", "c", "c_large"]
    assert table_with(b=np.ones(3), c=np.zeros(3), c_large=np.full(3, 2.0)).c_large is None
    with pytest.raises(ValueError, match=r"c_large .* cannot have d"):
        table_with(b=np.ones(3), c=np.ones(3), c_large=np.ones(3), d=np.ones(3))
    with pytest.raises(ValueError, match="column c_large must have 3 rows"):
        table_with(b=np.ones(3), c=np.ones(3), c_large=np.ones(2))


def test_a_table_prints_its_name_its_rows_and_its_columns():
    table = samplers.ddpm(schedules.Discrete.linear(), samplers.grids.discrete(1000, 3))
    lines = str(table).splitlines()
    assert lines[0] == "DDPM(small): 3 evaluations"
    assert lines[1].split() == ["row", "t", "a", "b0", "c"]
    assert [line.split()[0] for line in lines[2:]] == ["0", "1", "2"]
    assert float(lines[2].split()[1]) == 1
    everything = np.ones((3, 2))
    columns = {"a": everything[:, 0], "b": everything, "q": everything, "push": [True, False, True]}
    assert str(table_with(**columns)).splitlines()[1].split() == ["row", "t", "a", "b0", "b1", "p", "q0", "q1", "push"]


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

    def t_of_log_snr(self, log_snr):
        raise NotImplementedError


@pytest.mark.parametrize(
    "build",
    [
        lambda schedule: samplers.grids.log_snr(schedule, 5, start=0.9),
        lambda schedule: samplers.dpm_solver(schedule, [0.9, 0.5, 0.2], order=2),
        lambda schedule: samplers.midpoint(schedule, [0.9, 0.5, 0.2], variable="sigma"),
    ],
)
def test_a_schedule_without_an_inverse_is_refused_where_it_is_needed_and_only_there(build):
    with pytest.raises(ValueError, match="Irreversible has no inverse of its log-SNR"):
        build(Irreversible())
    assert samplers.unipc(Irreversible(), [0.9, 0.7, 0.5, 0.2]).num_evaluations == 3
