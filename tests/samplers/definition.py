"""A table run by its definition, in NumPy and float64, with noise that the test hands in."""

import numpy as np


def mixture_halves(schedule, weights, means, stds):
    """(x, t) to the exact (x_0, eps) of an isotropic Gaussian mixture, sharing no code with denoisers.oracles."""
    weights, means, stds = (np.asarray(value, float) for value in (weights, means, stds))

    def halves(x, t):
        alpha, sigma = float(schedule.alpha(np.float64(t))), float(schedule.sigma(np.float64(t)))
        variance = (alpha * stds) ** 2 + sigma**2
        residual = x[:, None] - alpha * means
        log_joint = np.log(weights) - 0.5 * (residual**2).sum(-1) / variance - means.shape[1] / 2 * np.log(variance)
        share = np.exp(log_joint - log_joint.max(1, keepdims=True))
        share = (share / share.sum(1, keepdims=True))[..., None]
        shrunk = residual / variance[:, None]
        x_0 = share * (means + alpha * stds[:, None] ** 2 * shrunk)
        return x_0.sum(1), (share * sigma * shrunk).sum(1)

    return halves


def by_the_definition(halves, columns, times, x, noise, *, push=None):
    """The states after every row, in float64, with whole histories and no column left out."""
    rows = len(times)
    depth = max((np.shape(columns[name])[1] for name in "bqer" if name in columns), default=1)
    full = {name: np.zeros((rows, depth)) for name in "bqer"} | {name: np.zeros(rows) for name in "acd"}
    full["p"] = np.ones(rows)
    for name, column in columns.items():
        full[name][..., : np.shape(column)[-1]] = column
    anchor = query = np.asarray(x, np.float64)
    past, states = [(0 * query, 0 * query)] * depth, []
    for j, t in enumerate(times):
        seen = [halves(query, t), *past]
        x_0s, epss = (np.stack([pair[half] for pair in seen[:depth]], -1) for half in (0, 1))
        anchor = full["a"][j] * anchor + x_0s @ full["b"][j] + epss @ full["e"][j] + full["c"][j] * noise[j]
        query = full["p"][j] * anchor + x_0s @ full["q"][j] + epss @ full["r"][j] + full["d"][j] * noise[j]
        past = seen if push is None or push[j] else past
        states.append(query)
    return np.array(states)
