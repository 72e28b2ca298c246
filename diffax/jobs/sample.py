"""--mode sample: draws samples from the newest checkpoint of a run directory, as a picture and an array."""

import argparse
import hashlib
import json
import pathlib

import numpy as np
from ml_collections import ConfigDict

from diffax import distributed, resolve
from diffax.data.dataset import described_class
from diffax.reporting import images, plots
from diffax.runs import directory as run_directory
from diffax.runs import trained
from diffax.runs.errors import UserError, for_people

# Enough in a picture to judge by eye.
MAX_IMAGES = 256


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--num_samples", type=int, default=64, help="how many samples (default 64)")
    parser.add_argument("--batch_size", type=int, default=256, help="how many at once (default 256)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    parser.add_argument("--label", help="the class to draw, its name or number; each in turn by default")
    parser.add_argument("--ema", metavar="NAME", help="which average of config.ema, by its name or index")
    parser.add_argument("--sampler", metavar="NAME", help="short for --config.sampler.name")
    parser.add_argument("--num_steps", type=int, help="short for --config.sampler.num_steps")
    parser.add_argument("--guidance_scale", type=float, help="of classifier-free guidance; 1 for none")


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Draws samples by config.sampler with an average of the parameters; returns the path of the .npz file.

    It holds `samples`, (num_samples, *dims) in the network's range ([-1, 1] for images), `labels` if the model is
    class-conditional, and of images `num_levels`, how many values a pixel can take; the data source `arrays` reads it.
    A PNG file of the same name lies beside it. Reads no training data.

    Raises:
      UserError: no checkpoint, another run's config, or a label or an average the model does not have.
    """
    for name in ("num_samples", "batch_size"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name} must be >= 1, got {getattr(args, name)}")
    if args.seed < 0:
        raise UserError(f"--seed must be >= 0, got {args.seed}")
    with for_people():
        config = resolve.resolve(resolve.override(config, _overrides(config, args)))
    # How long the run was trained does not touch how it is sampled.
    run_directory.check_same_run(workdir, config, ("train.num_steps",))
    model = trained.open_with(workdir, config)
    labels = model.model.labels(args.num_samples, args.label)
    samples = model.draw(args.num_samples, seed=args.seed, labels=labels, batch_size=args.batch_size, average=args.ema)
    if args.label is not None and labels is not None:
        args.label = int(labels[0])  # the file is named for the class, however it was given
    path = workdir / "generated" / f"{_name(model, args)}.npz"
    if not distributed.is_first():
        return path
    path.parent.mkdir(exist_ok=True)
    is_image = model.num_levels is not None
    beside = {"labels": labels, "num_levels": np.asarray(model.num_levels) if is_image else None}
    images.save_npz(path, samples=samples, **{key: value for key, value in beside.items() if value is not None})
    picture = images.picture(samples[:MAX_IMAGES]) if is_image else plots.scatter_picture(samples)
    images.save_png(path.with_suffix(".png"), picture)
    table = model.model.sampler_table()
    drawn = "" if args.label is None else f" of class {described_class(args.label, model.class_names)}"
    by = f"{table.name}, {table.num_evaluations} evaluations"
    print(
        f"{args.num_samples} samples{drawn} of step {model.step} by {by}:\n  {path}\n  {path.with_suffix('.png')}",
        flush=True,
    )
    return path


def _overrides(config: ConfigDict, args: argparse.Namespace) -> list[tuple[str, str]]:
    """The short flags as overrides of config.sampler."""
    overrides = [] if args.sampler is None else [("sampler.name", args.sampler)]
    overrides += [] if args.num_steps is None else [("sampler.num_steps", str(args.num_steps))]
    scale = args.guidance_scale
    return overrides + ([] if scale is None else trained.guidance_overrides(config, scale))


def _name(model: trained.Trained, args: argparse.Namespace) -> str:
    """A file name that differs for all that makes different samples.

    Beside what it spells out it ends in a short hash of all settings of config.sampler, so that neither another grid
    nor another eta overwrites a file.
    """
    options = model.config.sampler
    guided = f"_guidance{options.guidance.scale:g}" if "scale" in options.guidance else ""
    average = model.average_name(args.ema)
    averaged = f"_ema-{average}" if average != model.averages[0] else ""
    label = f"_label{args.label}" if args.label is not None else ""
    settings = json.dumps(options.to_dict() | {"average": average}, sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:6]
    made_by = f"{options.name.replace(':', '-')}{options.num_steps}{guided}{averaged}{label}"
    return f"{model.step:08d}_{made_by}_seed{args.seed}_{args.num_samples}_{digest}"
