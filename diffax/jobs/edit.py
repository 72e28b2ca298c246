"""--mode edit: inverts images under one condition and generates them under another, as a picture and an archive."""

import argparse
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import distributed
from diffax.evaluation.measurement import digest
from diffax.jobs import sample
from diffax.reporting.progress import Progress
from diffax.runs import asked, editing, edits, inputs
from diffax.runs.errors import UserError
from diffax.runs.trained import Trained

# Of the samplers with one evaluation a step, order 2 of UniPC finds the latents most accurately.
DEFAULT_SAMPLER = (("sampler.name", "unipc"), ("sampler.order", "2"))


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--input", metavar="PATH", required=True, help="an image, a folder of images or a .npz file")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="LABEL",
        help="what the images are, a class or a text; by default the classes "
        "of the folders they lie in or of the file, else nothing",
    )
    parser.add_argument("--to", dest="target", metavar="LABEL", required=True, help="what they become")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="how far into noise, in (0, 1]; less keeps more (default 1)"
    )
    parser.add_argument("--resize", action="store_true", help="crop and resize images of another size")
    parser.add_argument("--batch_size", type=int, default=256, help="how many at once (default 256)")
    sample.add_sampler_flags(parser)


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Edits the images of --input; returns the directory of the results, edits/NAME of the run.

    Inverts them under --from without guidance, reconstructs them, and generates them under --to with the run's
    guidance, by the sampler `unipc` of order 2 unless another is given (runs.editing). Reads no training data.

    Raises:
      UserError: no checkpoint, images of another size or number of channels or that cannot be read, a label that the
        model does not have, a strength outside (0, 1], a stochastic sampler.
    """
    sample.check_at_least_one(args, "batch_size")
    if not 0 < args.strength <= 1:
        raise UserError(f"--strength must be in (0, 1], got {args.strength:g}")
    model = sample.opened(config, workdir, inverting(config, args, args.guidance_scale))
    given = inputs.read(args.input, model.model, resize=args.resize)
    source, called = _source(model, args, given)
    target = asked.of_word(model.model, "--to", args.target)
    with Progress(len(given.x), description="edit", unit="images", enabled=distributed.is_first()) as progress:
        edit = editing.edit(
            model,
            given.x,
            source,
            target,
            strength=args.strength,
            batch_size=args.batch_size,
            average=args.ema,
            report=progress.update,
        )
    is_image, stem = model.num_levels is not None, pathlib.Path(args.input).resolve().stem
    record = {"input": stem, "digest": digest(given.x), "from": called, "to": args.target}
    record |= {"strength": args.strength}
    words = f"{stem}_{called}-to-{args.target}_strength{args.strength:g}"
    path = edits.directory(workdir / edits.EDITS, model, words, record, args.ema)
    # The range of images is 2, from -1 to 1.
    error = float(edit.error.mean()) / (2 if is_image else 1)
    if distributed.is_first():
        label = target.get(model.model.class_condition or "")
        labels = None if label is None else np.repeat(label, len(given.x))
        edits.write_edit(path, edit, labels, is_image=is_image)
        edits.write_record(path, edits.described(model, record | {"reconstruction_error": error}, args.ema))
        _, table = editing.tables(model, args.strength)
        scale = model.config.sampler.guidance.get("scale", 1.0)
        print(
            f"{len(given.x)} edited from {called} to {args.target} at strength {args.strength:g} by {table.name}: "
            f"{table.num_evaluations} evaluations to invert, at guidance scale 1, and {table.num_evaluations} to "
            f"generate, at {scale:g}"
        )
        print(f"  reconstruction: mean absolute error {error:.2g}{' of the range' if is_image else ''}")
        print(f"  {path}\n  {path / edits.PICTURE}", flush=True)
    return path


def inverting(config: ConfigDict, args: argparse.Namespace, guidance_scale: float | None) -> list[tuple[str, str]]:
    """The sampler flags as overrides of config.sampler, with DEFAULT_SAMPLER unless the command names one."""
    named = args.sampler is not None or any(path in ("sampler", "sampler.name") for path, _ in args.overrides)
    default = () if named else DEFAULT_SAMPLER
    return [*default, *sample.sampler_overrides(config, args, guidance_scale)]


def _source(model: Trained, args: argparse.Namespace, given: inputs.Inputs) -> tuple[dict[str, Any], str]:
    """The conditions that the images are inverted under, and what they are called."""
    if args.source is not None:
        return asked.of_word(model.model, "--from", args.source), args.source
    labels = given.labels(model.model)
    if labels is not None:
        return {model.model.class_condition or "": labels}, "their classes"
    asked.check_null_is_learned(model.model, "--from")
    return {}, "no condition"
