"""--mode reflow: makes pairs of noise and sample of a trained model by its ODE, the data of reflow and distillation."""

import argparse
import pathlib

from ml_collections import ConfigDict

from diffax import build_data, distributed
from diffax.conditions import Classes
from diffax.data import pairs
from diffax.jobs import sample
from diffax.reporting.progress import Progress, downloads
from diffax.runs import asked, sample_sets
from diffax.runs.errors import UserError, for_people
from diffax.runs.trained import Trained


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--num_samples", type=int, default=10_000, help="how many pairs (default 10000)")
    parser.add_argument("--batch_size", type=int, default=256, help="how many at once (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default 0)")
    policies = (sample_sets.EQUAL, sample_sets.DRAWN)
    parser.add_argument("--labels", choices=policies, help="each class in turn (equal, the default), or at random")
    sample.add_sampler_flags(parser)


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Makes pairs by config.sampler with an average of the parameters; returns the directory of the set of pairs.

    The set, pairs/NAME of the run, holds shards of `samples` and `noise`, float32, and `labels` if the model is
    class-conditional; the data source `pairs` reads it. Pairs that are there already are not made again. A model with
    other conditions than classes gets those of random training examples, which are kept in the set. For all others no
    training data are read.

    Raises:
      UserError: no checkpoint, another run's config, a sampler that adds noise, or an average that does not exist.
    """
    sample.check_at_least_one(args, "num_samples", "batch_size")
    sample.check_seed(args)
    model = sample.opened(config, workdir, sample.sampler_overrides(config, args, args.guidance_scale))
    first = distributed.is_first()
    if model.config.noise.name != "normal":
        raise UserError(f"--mode reflow pairs normal noise, and this model has noise {model.config.noise.name!r}")
    with Progress(args.num_samples, description="reflow", unit="pairs", enabled=first) as progress:
        path = sample_sets.fill(
            model,
            workdir / pairs.FOLDER,
            args.num_samples,
            seed=args.seed,
            labels=args.labels or sample_sets.EQUAL,
            batch_size=args.batch_size,
            average=args.ema,
            wanted=_conditions(model, args),
            with_noise=True,
            report=progress.update,
        )
    if first:
        table = model.model.sampler_table()
        print(f"{args.num_samples} pairs of step {model.step} by {table.name}, {table.num_evaluations} evaluations:")
        print(f"  {path}\ntrain on them by --config.data.name=pairs --config.data.path={path}", flush=True)
    return path


def _conditions(model: Trained, args: argparse.Namespace) -> asked.Asked | None:
    """The conditions of random training examples; None for a model that is told classes at most."""
    kinds, class_condition = model.network.conditions, model.model.class_condition
    if not asked.has_more_than_classes(model.model):
        return None
    other = [
        name
        for name in asked.condition_names(model.model)
        if isinstance(kinds[name], Classes) and name != class_condition
    ]
    if other:
        raise UserError(
            f"--mode reflow keeps labels, vectors and tokens, and the condition {other[0]} is another class"
        )
    with for_people():
        examples = build_data.dataset(model.config, "train", report=downloads())
    return asked.of_examples(model.model, examples, args.num_samples, seed=args.seed)
