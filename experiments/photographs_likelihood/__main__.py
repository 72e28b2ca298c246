"""How likely are photographs under a small DDPM? python -m experiments.photographs_likelihood

Trains the network of configs/cifar_small.py without labels on CIFAR-10, or on other photographs of 32x32
(--photographs DIR, with train/CLASS/* and test/CLASS/*), by two published recipes: DDPM's simple loss
(configs/cifar_ddpm.py) and improved DDPM's pure bound with a learned variance and loss-second-moment times
(configs/cifar_iddpm.py), both with chains of 1,000 steps. A run with fewer than --steps steps is trained on. Measures
bits per dimension of held-out photographs by the variational bound of chains of 1,000 and fewer steps and by the
probability-flow ODE, prints them beside published ones, and writes results.json and bits.png.
"""

import pathlib
from typing import Any

from diffax import devices, runs
from diffax.reporting import plots
from experiments import bits_per_dim, common

HERE = pathlib.Path(__file__).parent
# The network of configs/cifar_small.py, and what 1,400 steps of 32 images need in place of 500,000 of 128.
SMALL = (
    "--config.data.augment=none",
    "--config.model.channels=32",
    "--config.model.channel_multipliers=(1, 2, 4)",
    "--config.model.num_res_blocks=1",
    "--config.model.attention_resolutions=(8,)",
    "--config.model.groups=8",
    "--config.model.num_heads=1",
    "--config.model.scale_shift=False",
    "--config.model.dropout=0.0",
    "--config.optimizer.learning_rate=1e-3",
    "--config.optimizer.warmup_steps=100",
    "--config.optimizer.max_grad_norm=1.0",
    "--config.train.batch_size=32",
    "--config.train.log_every=50",
    "--config.train.checkpoint_every=100",
    "--config.evaluators.samples=None",
    "--config.evaluators.held_out_loss.every=700",
)
# Chains of 4,000 steps would need 40,000 draws before loss-second-moment sampling starts.
BOUND = (
    "--config.loss.name=variational_bound",
    "--config.loss.time_density.name=loss_second_moment",
    "--config.schedule.num_steps=1000",
    "--config.sampler.num_steps=1000",
)
MODELS = {
    "DDPM, simple loss": ("photographs_simple", "cifar_ddpm", ()),
    "iDDPM, pure bound": ("photographs_bound", "cifar_iddpm", BOUND),
}
CHAINS = (50, 200, 1000)
# Bits per dimension of CIFAR-10's test images: model, way, value and source.
PUBLISHED = (
    ("DDPM, simple loss", "bound", "3.75", "arXiv:2006.11239, table 1"),
    ("DDPM, bound, fixed variance", "bound", "3.70", "arXiv:2006.11239, table 1"),
    ("DDPM, simple loss", "ODE", "3.28", "arXiv:2011.13456, table 2"),
    ("DDPM++, deep, sub-VP", "ODE", "2.99", "arXiv:2011.13456, table 2"),
    ("iDDPM, hybrid loss", "bound", "3.17", "arXiv:2102.09672"),
    ("iDDPM, pure bound", "bound", "2.94", "arXiv:2102.09672"),
    ("VDM", "bound", "2.65", "arXiv:2107.00630"),
)


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--photographs", type=pathlib.Path, help="a folder with train/CLASS, test/CLASS")
    parser.add_argument("--only_train", action="store_true", help="measure nothing")
    parser.add_argument("--steps", type=int, default=1400, help="of training (default 1400)")
    parser.add_argument("--num_examples", type=int, default=1000, help="for the bound; a tenth of it for the ODE")
    args = parser.parse_args()
    data = () if args.photographs is None else ("--config.data.name=folder", f"--config.data.path={args.photographs}")
    for folder, config, flags in MODELS.values():
        train_up_to(args.steps, config, args.runs / folder, *data, *SMALL, *flags)
    if args.only_train:
        return
    found = {name: measured(args.runs / folder, args.num_examples) for name, (folder, _, _) in MODELS.items()}
    print(bits_per_dim.table(found), flush=True)
    for row in PUBLISHED:
        print("published:", *row, sep="  ")
    if args.no_write:
        return
    plots.lines(HERE / "bits.png", panels(found), xlabel="steps of the chain", log="x", dashed=dashed(found))
    common.write(HERE / "results.json", {"steps of training": args.steps, "bits per dimension": found})


def train_up_to(steps: int, config: str, workdir: pathlib.Path, *flags: str) -> None:
    """Trains configs/CONFIG.py in workdir until it has so many steps, from its newest checkpoint if there is one."""
    if not (workdir / "checkpoints").exists() or runs.open(workdir).step < steps:
        common.train(config, workdir, *flags, f"--config.train.num_steps={steps}")


def measured(workdir: pathlib.Path, num_examples: int) -> dict[str, Any]:
    """Bits per dimension by the bound of each chain and by the ODE."""
    found = {}
    for steps in CHAINS:
        chain = (f"--config.likelihood.num_steps={steps}", "--config.likelihood.num_draws=20")
        found[f"bound, T = {steps}"] = bits_per_dim.measure(workdir, "bound", num_examples, *chain)
    return found | {"ode": bits_per_dim.measure(workdir, "ode", num_examples // 10)}


def panels(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """The bound against the steps of its chain, and the ODE as a level line."""
    lines = {
        f"{name}: bound": ([*CHAINS], [of_model[f"bound, T = {steps}"]["all"]["bound"] for steps in CHAINS])
        for name, of_model in found.items()
    }
    levels = {
        f"{name}: ODE": ([*CHAINS], [of_model["ode"]["all"]["ode"]] * len(CHAINS)) for name, of_model in found.items()
    }
    return {"bits per dimension": lines | levels}


def dashed(found: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{name}: ODE" for name in found)


if __name__ == "__main__":
    devices.configure()
    main()
