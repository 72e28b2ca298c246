"""Likelihoods and bounds of exact denoisers against the truth: python -m experiments.likelihood

A mixture of three Gaussians in the plane, whose denoiser and density are known in closed form: the probability-flow
ODE under five noise schedules, what a Gaussian prior adds to its error, Hutchinson's probes, and the variational bound
with 10 to 10,000 steps, in float64. The 1,797 digits, whose optimal denoiser is a memoriser with the likelihood 1 /
1797: the bound. Both: a noise schedule learned to lower the variance of the continuous-time bound's estimator. Writes
convergence.png, schedule.png and results.json.
"""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import matplotlib

from diffax import devices
from experiments import common
from experiments.likelihood import bound, learned_schedule, ode

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent
# In float64 or not, and what measures it.
PARTS: dict[str, tuple[bool, Callable[[], dict[str, Any]]]] = {
    "ode": (True, ode.errors),
    "probes": (True, ode.probes),
    "bound": (True, bound.of_mixture),
    "digits": (False, bound.of_digits),
    "schedule": (False, learned_schedule.compare),
}


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS), help="parts to measure anew")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    path = HERE / "results.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in args.only:
        is_float64, measure = PARTS[name]
        with jax.enable_x64(is_float64):
            found[name] = measure()
    if args.no_write:
        return
    plot_convergence(found)
    plot_schedule(found["schedule"])
    common.write(path, {name: found[name] for name in PARTS})


def plot_convergence(found: dict[str, Any]) -> None:
    """Writes convergence.png: the bound by steps, the ODE by evaluations, and what a Gaussian prior adds."""
    figure, ((left, right), (digits, prior)) = plt.subplots(2, 2, figsize=(11, 7.6), layout="constrained")
    for name, gaps in found["bound"].items():
        _by_steps(left, gaps, name)
    left.axhline(0, color="black", lw=0.8)
    left.set(xscale="log", xlabel="steps of the bound, T", ylabel="bound above the truth,\nnats per dimension")
    left.set_yscale("symlog", linthresh=0.01)
    left.set_ylim(-0.03, 3e3)
    left.set_title("mixture: the bound", fontsize=10)
    _by_steps(digits, found["digits"], "small, even in t")
    digits.axhline(bound.DIGITS_EXACT, color="black", lw=0.8, ls="--", label="log2(1797) / 64")
    digits.set(xscale="log", yscale="log", xlabel="steps of the bound, T", ylabel="bound, bits per dimension")
    digits.set_yticks([0.15, 0.2, 0.3, 0.5, 1.0], ["0.15", "0.2", "0.3", "0.5", "1"])
    digits.set_yticks([], minor=True)
    digits.set_title("digits: the bound of the memoriser", fontsize=10)
    # Schedules of one range of log-SNR have one curve.
    for (name, of_tolerance), style in zip(found["ode"].items(), ("-", "-", "-", "--", "--"), strict=True):
        points = [(one["num_evaluations"], one["largest_error"]) for one in of_tolerance.values()]
        right.plot(*zip(*points, strict=True), label=name, marker="o", ms=3, ls=style)
    right.axhline(1e-4, color="black", lw=0.8, ls=":")
    right.set(yscale="log", xlabel="evaluations of the ODE", ylabel="largest error, nats per dimension")
    right.set_title("mixture: the ODE, with the prior of the mixture", fontsize=10)
    names = list(found["ode"])
    added = [1e4 * abs(found["ode"][name]["1e-06"]["gaussian_prior_adds"]) for name in names]
    prior.barh(names, added, color="tab:gray")
    prior.invert_yaxis()
    prior.set_xlabel("mean change of the log-density, 1e-4 nats per dimension")
    prior.set_title("mixture: what a Gaussian prior adds", fontsize=10)
    for axes in (right, digits):
        axes.legend(frameon=False, fontsize=8)
    left.legend(frameon=False, fontsize=7, ncols=2, loc="upper right")
    figure.savefig(HERE / "convergence.png", dpi=110)
    plt.close(figure)


def _by_steps(axes: Any, found: dict[str, dict[str, float]], label: str) -> None:
    """Means with two standard errors."""
    mean, error = (np.array([one[key] for one in found.values()]) for key in ("mean", "standard_error"))
    axes.errorbar([int(num) for num in found], mean, 2 * error, label=label, marker="o", ms=3, capsize=2)


def plot_schedule(found: dict[str, Any]) -> None:
    """Writes schedule.png: log-SNR over time, and mean and variance of the estimates, of mixture and digits."""
    figure, (curves, means, variances) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    curves.plot(found["mixture"]["t"], found["mixture"]["linear"]["log_snr"], "k--", label="linear")
    for at, (name, one) in enumerate(found.items()):
        linear, learned = one["linear"], one["learned"]
        curves.plot(one["t"], learned["log_snr"], label=f"learned, {name}")
        for shift, schedule, colour, label in ((-0.15, linear, "tab:gray", "linear"), (0.15, learned, "C1", "learned")):
            mean, error = (schedule[key] / linear["mean"] for key in ("mean", "standard_error"))
            means.errorbar(at + shift, mean, 2 * error, fmt="o", capsize=3, c=colour, label=None if at else label)
            value, error = (schedule[key] / linear["variance"] for key in ("variance", "variance_error"))
            variances.bar(at + shift, value, 0.28, yerr=2 * error, capsize=3, color=colour)
        lowest, label = one["least"] / linear["variance"], None if at else "least possible"
        variances.plot([at - 0.35, at + 0.35], [lowest, lowest], "k:", label=label)
        variances.text(at + 0.17, value + 2 * error + 0.03, f"1 / {one['factor']:.2f}", ha="center", fontsize=9)
    curves.set(xlabel="t", ylabel="log-SNR")
    means.axhline(1, color="black", lw=0.8)
    means.set(ylabel="bound's diffusion term\nover that of linear log-SNR", xlim=(-0.6, 1.6), ylim=(0.9, 1.1))
    variances.set(ylabel="variance of the estimate\nover that of linear log-SNR", ylim=(0, 1.4))
    for axes in (means, variances):
        axes.set_xticks(range(len(found)), list(found))
    curves.legend(frameon=False, fontsize=8, loc="lower left")
    means.legend(frameon=False, fontsize=8)
    variances.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "schedule.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    devices.configure()
    main()
