"""What the tests of the mathematics go through: schedules and parameterizations by name, and times."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from diffax import processes, schedules

_PARAMETERS = {
    "height": np.log([0.5, 0.1, 2.0]),
    "steepness": np.log([3.0, 9.0, 1.5]),
    "centre": np.array([0.2, 0.6, 1.1]),
}
CONTINUOUS = {
    "cosine": schedules.Cosine(),
    "linear_beta": schedules.LinearBeta(),
    "sigmoid": schedules.Sigmoid(),
    "steep_sigmoid": schedules.Sigmoid(0.0, 3.0, 0.3),
    "variance_exploding": schedules.VarianceExploding(),
    "edm": schedules.VarianceExploding(0.002, 80.0),
    "sub_vp": schedules.SubVP(),
    "flow": schedules.Flow(),
    "learned": dataclasses.replace(schedules.Learned.initial(), parameters=_PARAMETERS),
}
DISCRETE = {
    "linear": schedules.Discrete.linear(),
    "scaled_linear": schedules.Discrete.scaled_linear(),
    "cosine_betas": schedules.Discrete.cosine(),
    "sigmoid_betas": schedules.Discrete.sigmoid(),
    "zero_terminal_snr": schedules.Discrete.scaled_linear().zero_terminal_snr(),
}
SHIFTED = {
    "shifted_flow": schedules.Shifted(schedules.Flow(), -2.2),
    "shifted_cosine": schedules.Shifted(schedules.Cosine(), 1.4),
    "shifted_linear_beta": schedules.Shifted(schedules.LinearBeta(), 1.4),
}
ALL_SCHEDULES = CONTINUOUS | DISCRETE | SHIFTED
# One of each kind, and the extremes.
_LIKE_ANOTHER = ("variance_exploding", "scaled_linear", "sigmoid_betas")
SCHEDULES = {name: schedule for name, schedule in ALL_SCHEDULES.items() if name not in _LIKE_ANOTHER}

PARAMETERIZATIONS = {
    "eps": processes.Eps(),
    "x_0": processes.X0(),
    "v": processes.V(),
    "flow": processes.FlowVelocity(),
    "score": processes.Score(),
    "edm": processes.Edm(sigma_data=0.7),
}

EPS = float(np.finfo(np.float32).eps)
# Every decade next to 0 and to 1, down to the last float32s, and a grid between, on no step of a Discrete one.
ENDS = np.array([0.0, 1e-7, 1e-6, 0.5, 1 - 1e-6, 1 - 6e-8, 1.0], np.float32)
DECADES = 10.0 ** np.arange(-6, -1)
TIMES = np.concatenate([ENDS, DECADES, 1 - DECADES, np.linspace(0.0205, 0.9805, 97)]).astype(np.float32)
INNER = TIMES[(TIMES > 9e-7) & (TIMES < 1 - 9e-8)]


@jax.jit
def evaluate(schedule, t):
    """(alpha, sigma, log_snr, t_of_log_snr that log_snr) at t, in one program for all schedules of one class."""
    log_snr = schedule.log_snr(t)
    return schedule.alpha(t), schedule.sigma(t), log_snr, schedule.t_of_log_snr(log_snr)


def in_float32(name):
    """evaluate at TIMES, as NumPy arrays."""
    return [np.asarray(value) for value in evaluate(ALL_SCHEDULES[name], jnp.asarray(TIMES))]


def change_over_one_ulp(function, t):
    """How far the exact value moves if t moves to the next float32: no float32 answer can be asked to be nearer."""
    t, up = t.astype(np.float64), np.nextafter(t, np.float32(2)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.abs(function(np.minimum(up, 1)) - function(t)) + np.abs(function(t) - function(np.abs(2 * t - up)))
    return np.nan_to_num(change, nan=np.inf)
