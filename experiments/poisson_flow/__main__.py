"""Poisson flow on points and digits: python -m experiments.poisson_flow

Draws the field lines of plain Poisson flow (D = 1, arXiv:2209.11178) of points in the plane, from the exact field. Then
trains configs/digits_edm.py and configs/digits_pfgmpp.py with D = 128, 2,048 and 1,000,000 where `runs/` does not have
them yet, and measures 2,000 digits of each over numbers of evaluations. Writes field.png, results.json and quality.png.
"""

import argparse
import json
import pathlib

import jax
import matplotlib
import numpy as np

from diffax import denoisers, devices, processes, runs, samplers, schedules
from diffax.reporting import plots
from experiments import common, digit_quality

HERE = pathlib.Path(__file__).parent
EVALUATIONS = (7, 13, 35, 79)
MODELS = {
    "EDM": ("digits_edm", ()),
    "PFGM++, D = 128": ("digits_pfgmpp", ()),
    "PFGM++, D = 2,048": ("digits_pfgmpp", ("--config.noise.dim=2048",)),
    "PFGM++, D = 1,000,000": ("digits_pfgmpp", ("--config.noise.dim=1000000",)),
}
# A heart of charges in the plane.
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
CHARGES = np.stack(
    [np.sin(ANGLES) ** 3, (13 * np.cos(ANGLES) - 5 * np.cos(2 * ANGLES) - 2 * np.cos(3 * ANGLES)) / 16], 1
)
# Lines that arrive flat are still far from their charge at small z.
HEIGHT, LOWEST = 6.0, 1e-4


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--only", choices=("field", "digits"), nargs="*", default=("field", "digits"))
    args = parser.parse_args()
    if "field" in args.only and not args.no_write:
        draw_field(HERE / "field.png")
    if "digits" in args.only:
        measure_digits(args)


def field_lines(num_lines: int = 100) -> np.ndarray:
    """Field lines (states, num_lines, 3) in the plane and the augmented axis z = sigma, from far away to the charges.

    dx/dz = (x - E[x_0 | x, z]) / z is the direction of the Poisson field E(x, z), the sum over charges of the vectors
    from them to (x, z), each over its length to the third power.
    """
    schedule = schedules.VarianceExploding(sigma_min=LOWEST, sigma_max=HEIGHT)
    noise = processes.PoissonFlowNoise(1.0)
    exact = denoisers.empirical(schedule, CHARGES.astype(np.float32), noise=noise)
    sigmas = np.geomspace(HEIGHT, LOWEST, 401)
    times = np.asarray(schedule.t_of_log_snr(-2 * np.log(sigmas)))
    times[0], times[-1] = 1.0, 0.0
    table = samplers.heun(schedule, times)
    # Lines leave the far half-sphere evenly: the prior of Poisson flow.
    keys = jax.random.split(jax.random.key(0), num_lines)
    start = samplers.prior(keys, table, (2,), noise=noise)
    _, states = samplers.run(None, exact, table, start, save_every=2)
    states = np.concatenate([np.asarray(start)[None], np.asarray(states)])
    z = np.broadcast_to(sigmas[: len(states), None, None], (*states.shape[:2], 1))
    return np.concatenate([states, z], axis=2)


def draw_field(path: pathlib.Path) -> None:
    """The lines in space, and seen from above."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines, limit = field_lines(), 4.0
    inside = [line for line in np.swapaxes(lines, 0, 1) if np.abs(line[:, :2]).max() < 3 * limit]
    figure = pyplot.figure(figsize=(10, 4.6))
    space, above = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
    for line in inside:
        near = np.abs(line[:, :2]).max(1) < limit
        space.plot(*line[near].T, linewidth=0.7, color="tab:blue")
        above.plot(*line[:, :2].T, linewidth=0.7, color="tab:blue")
    space.scatter(*CHARGES.T, zs=0, color="tab:red", s=10)
    above.scatter(*CHARGES.T, color="tab:red", s=14, zorder=3)
    space.set(xlabel="x", ylabel="y", zlabel="z", zlim=(0, HEIGHT), title="field lines end in the charges at z = 0")
    above.set(xlabel="x", ylabel="y", xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title="seen along z")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def measure_digits(args: argparse.Namespace) -> None:
    """Quality against evaluations of EDM and PFGM++ at equal cost of training."""
    judge, found, costs = digit_quality.Judge(), {}, {}
    settings = {number: {"num_steps": (number + 1) // 2} for number in EVALUATIONS}
    for name, (config, flags) in MODELS.items():
        workdir = args.runs / f"{config}{''.join(flags).rpartition('=')[2]}"
        if not (workdir / "checkpoints").exists():
            common.train(config, workdir, *flags, "--config.evaluators.samples=None")
        if (workdir / "cost.json").exists():
            costs[name] = json.loads((workdir / "cost.json").read_text())["cpu_seconds"]
        found[name] = judge.curve(runs.open(workdir), settings, workdir / "measured_heun.json")
    print(digit_quality.table(found, "model"), flush=True)
    if args.no_write:
        return
    shown = digit_quality.distances(found)
    plots.lines(HERE / "quality.png", shown, xlabel="evaluations of the network", log="xy")
    common.write(HERE / "results.json", {"digits": found, "cpu_seconds": costs})


if __name__ == "__main__":
    devices.configure()
    main()
