"""--mode likelihood: bits per dimension of a run on held-out data, by the probability-flow ODE and by bounds."""

import argparse
import pathlib

from ml_collections import ConfigDict

from diffax import build_data, devices, distributed
from diffax.jobs import sample
from diffax.reporting import progress
from diffax.reporting.progress import Progress
from diffax.runs import directory as run_directory
from diffax.runs import likelihood, likelihood_examples, likelihood_results, opening
from diffax.runs.errors import UserError, for_people

FOLDER = "likelihoods"


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument(
        "--ways",
        type=sample.names_of,
        default=list(likelihood.DEFAULT_WAYS),
        metavar="WAYS",
        help="of ode,bound,continuous_bound (default ode,bound)",
    )
    parser.add_argument(
        "--against",
        type=sample.names_of,
        default=[],
        metavar="SETS",
        help="out-of-distribution examples beside: noise,shifted",
    )
    parser.add_argument("--ema", metavar="NAME", help="which average of config.ema, by its name or index")
    parser.add_argument("--seed", type=int, default=0, help="of the examples and of all noise (default 0)")
    parser.add_argument("--batch_size", type=int, default=64, help="examples at once (default 64)")


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Measures likelihoods by config.likelihood; returns their directory, likelihoods/NAME of the run.

    It holds results.json, the means with their standard errors, over all examples and by class, and examples.npz, the
    values of every example: `row` and `label` of the data, and those of runs.likelihood. Of --against each set has
    values under names of its own (noise_ode), and its AUROC: how well the likelihood tells it from the data.

    Raises:
      UserError: no checkpoint, settings that do not fit, or a model with guidance, thresholding or epsilon scaling.
    """
    sample.check_at_least_one(args, "batch_size")
    sample.check_seed(args)
    _check(args)
    run_directory.check_same_run(workdir, config, run_directory.WHEN_OPENED)
    model, first = opening.open_with(workdir, config), distributed.is_first()
    with for_people():
        how = likelihood.of(model.model)
        how.check(args.ways)
        splits = build_data.splits(config, report=progress.downloads())
        examples = splits[config.likelihood.split == "held_out"]
        changes = {name: likelihood_examples.change(name, examples, args.seed) for name in args.against}
    rows = likelihood_examples.random_rows(len(examples), config.likelihood.num_examples, args.seed)
    measured, done = {}, 0
    with Progress(len(rows) * (1 + len(changes)), description="likelihood", unit="examples", enabled=first) as bar:
        for name, changed in {likelihood_results.DATA: None, **changes}.items():
            measured[name] = model.likelihoods(
                examples,
                rows,
                ways=args.ways,
                average=args.ema,
                changed=changed,
                seed=args.seed,
                batch_size=args.batch_size,
                report=lambda count, before=done: bar.update(before + count),
            )
            done += len(rows)
    labels = None if examples.num_classes is None else examples.batch(rows)["label"]
    results = likelihood_results.summarized(how, examples, labels, measured)
    results["run"] = {"step": model.step, "average": model.average_name(args.ema), "seed": args.seed}
    results["run"] |= run_directory.computed_in(config)
    results["environment"] = devices.describe()
    directory = workdir / FOLDER / likelihood_results.name(results)
    if first:
        likelihood_results.write(directory, results, rows, labels, measured)
        print(likelihood_results.text(results), flush=True)
        print(f"written to {directory}", flush=True)
    return directory


def _check(args: argparse.Namespace) -> None:
    """Raises UserError for values of the flags that do not exist."""
    for name, known in (("ways", likelihood.WAYS), ("against", likelihood_examples.OTHERS)):
        unknown = [one for one in getattr(args, name) if one not in known]
        if unknown or (name == "ways" and not args.ways):
            raise UserError(f"--{name} must be of {', '.join(known)}, got {', '.join(unknown) or 'none'}")
