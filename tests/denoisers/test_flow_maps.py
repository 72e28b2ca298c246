"""Flow maps against the closed form of Gaussian data, SciPy's solution of the ODE, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from diffax import denoisers, networks, processes, schedules
from diffax.conditions import SPAN, Classes, Number
from diffax.denoisers import flow_maps, time_inputs

SCHEDULES = [schedules.Cosine(), schedules.Flow(), schedules.VarianceExploding(0.02, 10.0), schedules.SubVP()]
NAMES = [type(schedule).__name__ for schedule in SCHEDULES]
MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.25]])
X = np.random.default_rng(0).standard_normal((5, 2))


def compiled(function):
    """jax.jit of a dataclass, whose arrays have no hash."""
    return jax.jit(lambda *arguments: function(*arguments))


def slope(schedule, denoiser):
    """dx/dt by central differences of alpha and sigma in float64."""
    denoiser = compiled(denoiser)

    def derivative(t, x):
        h = 1e-6
        alpha, sigma = ((f(t + h) - f(t - h)) / (2 * h) for f in (schedule.alpha, schedule.sigma))
        prediction = denoiser(jnp.asarray(x)[None], jnp.asarray(t))
        return np.asarray(alpha * prediction.x_0 + sigma * prediction.eps)[0]

    return derivative


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_gaussian_and_integrated_solve_the_ode(schedule):
    """Against SciPy's Runge-Kutta in t, there and back; the mixture has no closed form."""
    with jax.enable_x64(True):
        one = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
        two = denoisers.gaussian_mixture(schedule, [0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.2])
        x, t, s = jnp.asarray(X), 0.8, 0.25
        for denoiser, flow_map in (
            (one, flow_maps.gaussian(one)),
            (two, flow_maps.integrated(two, schedule, tolerance=1e-9)),
        ):
            flow_map = compiled(flow_map)
            found = np.asarray(flow_map(x, t, s))
            for row in range(2):
                solved = integrate.solve_ivp(
                    slope(schedule, denoiser), (t, s), X[row], method="DOP853", rtol=1e-9, atol=1e-9
                )
                np.testing.assert_allclose(found[row], solved.y[:, -1], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(flow_map(jnp.asarray(found), s, t), X, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(flow_map(x, t, t), X, rtol=1e-12)


def test_each_sample_has_its_own_times():
    with jax.enable_x64(True):
        schedule = SCHEDULES[0]
        two = denoisers.gaussian_mixture(schedule, [0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.2])
        flow_map = compiled(flow_maps.integrated(two, schedule, tolerance=1e-8))
        t, s = jnp.array([0.9, 0.5, 0.3, 0.7, 1.0]), jnp.array([0.1, 0.5, 0.8, 0.0, 0.4])
        together = np.asarray(flow_map(jnp.asarray(X), t, s))
        alone = [
            np.asarray(flow_map(jnp.tile(X[i], (5, 1)), jnp.full(5, t[i]), jnp.full(5, s[i])))[0] for i in range(len(X))
        ]
        np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=NAMES)
def test_a_flow_map_and_its_denoiser_are_the_same(schedule):
    """And to first order the flow map is that of the denoiser of one time."""
    with jax.enable_x64(True):
        one = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
        exact, x = flow_maps.gaussian(one), jnp.asarray(X)
        again = flow_maps.flow_map(flow_maps.two_time_denoiser(exact, schedule), schedule)
        np.testing.assert_allclose(again(x, 0.7, 0.2), exact(x, 0.7, 0.2), rtol=1e-9)
        first = flow_maps.first_order(one, schedule)
        errors = [np.abs(np.asarray(first(x, 0.7, 0.7 - h) - exact(x, 0.7, 0.7 - h))).max() for h in (0.02, 0.01)]
        assert 3.5 < errors[0] / errors[1] < 4.5  # the local error is of second order
        near = flow_maps.two_time_denoiser(exact, schedule)(x, 0.7, 0.7 - 1e-5)
        for half, expected in zip(near[:2], one(x, jnp.asarray(0.7))[:2], strict=True):
            np.testing.assert_allclose(half, expected, atol=1e-4)


def two_times(kinds):
    network = networks.as_network(networks.MLP(hidden=16, depth=1, conditions=kinds))
    params = network.init(jax.random.key(0), (2,))
    # Not zero, as after training.
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), params)
    parts = (network, params, schedules.Flow(), processes.FlowVelocity())
    return denoisers.from_network(*parts, time_input=time_inputs.scaled)


def test_a_network_of_two_times_is_one_of_one_time_where_they_are_equal():
    denoiser, x = two_times({SPAN: Number()}), jnp.asarray(X, jnp.float32)
    plain, same, other = denoiser(x, 0.7), denoiser(x, 0.7, 0.7), denoiser(x, 0.7, 0.2)
    np.testing.assert_array_equal(plain.x_0, same.x_0)
    assert np.abs(np.asarray(plain.x_0 - other.x_0)).max() > 1e-4
    # x_s = x_t - (t - s) u, the average velocity of MeanFlow.
    x_s = flow_maps.flow_map(denoiser, schedules.Flow())(x, 0.7, 0.2)
    np.testing.assert_allclose(x_s, x - 0.5 * (other.eps - other.x_0), rtol=1e-4, atol=1e-5)


def test_a_network_may_learn_the_second_time_later():
    """Zero-initialised: the parameters of a network of one time, and two matrices more."""
    networks_ = [
        networks.as_network(networks.MLP(hidden=16, depth=1, conditions=kinds)) for kinds in ({}, {SPAN: Number()})
    ]
    before, after = (network.init(jax.random.key(0), (2,)) for network in networks_)
    more = set(after["embedding"]) - set(before["embedding"])
    assert more == {f"{SPAN}_1", f"{SPAN}_2"} and not np.asarray(after["embedding"][f"{SPAN}_2"]["kernel"]).any()


def test_a_network_of_one_time_asked_for_two_is_refused():
    with pytest.raises(ValueError, match=r"there is no condition 'span': the network takes label"):
        two_times({"label": Classes(3)})(jnp.zeros((2, 2)), 0.7, 0.2)


def test_closed_forms_are_of_one_gaussian():
    two = denoisers.gaussian_mixture(SCHEDULES[0], [0.3, 0.7], [[-1.0, 0.0], [1.0, 0.5]], [0.4, 0.2])
    with pytest.raises(ValueError, match="closed form is of one Gaussian, got 2"):
        flow_maps.gaussian(two)
