"""--mode sample: draws samples from the newest checkpoint of a run directory, as a sample set and a picture."""

import argparse
import pathlib

from ml_collections import ConfigDict

from diffax import distributed, resolve
from diffax.data.dataset import described_class
from diffax.reporting import images, plots
from diffax.reporting.progress import Progress
from diffax.runs import directory as run_directory
from diffax.runs import opening, prompts, sample_sets, trained
from diffax.runs.errors import UserError, for_people
from diffax.runs.trained import Trained

# Enough in a picture to judge by eye.
MAX_IMAGES, MAX_POINTS = 256, 5000
PREVIEW = "preview.png"


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--num_samples", type=int, default=64, help="how many samples (default 64)")
    parser.add_argument("--batch_size", type=int, default=256, help="how many at once (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    parser.add_argument("--label", help="the class to draw, its name or number; each in turn by default")
    policies = (sample_sets.EQUAL, sample_sets.DRAWN)
    parser.add_argument("--labels", choices=policies, help="each class in turn (equal, the default), or at random")
    add_sampler_flags(parser)
    parser.add_argument("--prompt", action="append", metavar="TEXT", help="given several times, each in turn")
    parser.add_argument("--negative", metavar="TEXT", help="a prompt that guidance leads away from")
    parser.add_argument(
        "--compose", metavar="SCALES", help="ask for all prompts at once, each with its guidance scale: --compose 2,1.5"
    )
    parser.add_argument(
        "--interpolate", type=int, metavar="N", help="N conditions on the line between two prompts, with equal noise"
    )
    parser.add_argument("--context", metavar="FILE", help="a .npz of the conditions' values by name, each row in turn")
    parser.add_argument("--same_noise", action="store_true", help="let samples differ in their conditions alone")


def add_sampler_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose the average, the sampler and its guidance."""
    parser.add_argument("--ema", metavar="NAME", help="which average of config.ema, by its name or index")
    parser.add_argument("--sampler", metavar="NAME", help="short for --config.sampler.name")
    parser.add_argument("--num_steps", type=int, help="short for --config.sampler.num_steps")
    parser.add_argument("--guidance_scale", type=float, help="of classifier-free guidance; 1 for none")


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Draws samples by config.sampler with an average of the parameters; returns the directory of the sample set.

    The set, generated/NAME of the run, holds shards of `samples`, uint8 images or float32 points, and `labels` if the
    model is class-conditional; `runs.sample_set` and the data source `arrays` read it. Samples that are there already
    are not drawn again. Its preview.png shows the first of them. Reads no training data.

    Raises:
      UserError: no checkpoint, another run's config, or a label, a condition or an average the model does not have.
    """
    check_at_least_one(args, "num_samples", "batch_size")
    check_seed(args)
    if args.label is not None and args.labels is not None:
        raise UserError("give --label for one class or --labels for all of them, not both")
    scale = args.guidance_scale
    if args.compose is not None:
        scale = prompts.scales(args.compose, len(args.prompt or []))[0]
    model, first = opened(config, workdir, sampler_overrides(config, args, scale)), distributed.is_first()
    drawn_class = model.model.labels(1, args.label)
    one_class = None if args.label is None or drawn_class is None else int(drawn_class[0])
    labels = args.labels or sample_sets.EQUAL if one_class is None else one_class
    wanted = prompts.wanted(model.model, args, one_class)
    if wanted is not None:
        with for_people():
            prompts.check_guidance(model.model, wanted)
    with Progress(args.num_samples, description="sample", unit="samples", enabled=first) as progress:
        path = sample_sets.fill(
            model,
            workdir / sample_sets.FOLDER,
            args.num_samples,
            seed=args.seed,
            labels=labels,
            batch_size=args.batch_size,
            average=args.ema,
            wanted=wanted,
            report=progress.update,
        )
    if first:
        columns = wanted.num if wanted is not None and (wanted.same_noise or 1 < wanted.num <= 16) else None
        _draw_preview(path, args.num_samples, is_image=model.num_levels is not None, columns=columns)
        table = model.model.sampler_table()
        of_class = "" if one_class is None else f" of class {described_class(one_class, model.class_names)}"
        by = f"{table.name}, {table.num_evaluations} evaluations"
        if wanted is not None and "prompts" in wanted.words:
            of_class = f" of {', '.join(map(repr, wanted.words['prompts']))}"
        print(f"{args.num_samples} samples{of_class} of step {model.step} by {by}:\n  {path}", flush=True)
        print(f"  {path / PREVIEW}", flush=True)
    return path


def opened(config: ConfigDict, workdir: pathlib.Path, overrides: list[tuple[str, str]]) -> Trained:
    """The trained model of a run under other settings of its sampler.

    Raises:
      UserError: no checkpoint, another run's config, or settings that do not exist or fit.
    """
    with for_people():
        config = resolve.resolve(resolve.override(config, overrides))
    run_directory.check_same_run(workdir, config, run_directory.WHEN_OPENED)
    return opening.open_with(workdir, config)


def names_of(text: str) -> list[str]:
    """The names of a flag, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def check_seed(args: argparse.Namespace) -> None:
    """Raises UserError for a negative --seed."""
    if args.seed < 0:
        raise UserError(f"--seed must be >= 0, got {args.seed}")


def check_at_least_one(args: argparse.Namespace, *names: str) -> None:
    """Raises UserError for a flag whose number is below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise UserError(f"--{name} must be >= 1, got {getattr(args, name)}")


def _draw_preview(path: pathlib.Path, num_samples: int, *, is_image: bool, columns: int | None) -> None:
    drawn = sample_sets.sample_set(path)
    x = next(drawn.batches(MAX_IMAGES if is_image else MAX_POINTS, num_samples))["x"]
    if is_image:
        picture = images.picture(drawn.examples.to_network_range(x), num_columns=columns)
    else:
        picture = plots.scatter_picture(x)
    images.save_png(path / PREVIEW, picture)


def sampler_overrides(
    config: ConfigDict, args: argparse.Namespace, guidance_scale: float | None
) -> list[tuple[str, str]]:
    """The flags of `add_sampler_flags` as overrides of config.sampler."""
    overrides = [] if args.sampler is None else [("sampler.name", args.sampler)]
    overrides += [] if args.num_steps is None else [("sampler.num_steps", str(args.num_steps))]
    return overrides + ([] if guidance_scale is None else trained.guidance_overrides(config, guidance_scale))
