"""--mode interpolate: images between two images, or between the samples of two seeds, as a picture and an archive."""

import argparse
import pathlib
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffax import distributed
from diffax.evaluation.measurement import digest
from diffax.jobs import edit, sample
from diffax.runs import asked, editing, edits, inputs
from diffax.runs.errors import UserError
from diffax.runs.trained import Trained


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--between", nargs=2, metavar=("A", "B"), help="two images to invert, reached at both ends")
    parser.add_argument("--seeds", nargs=2, type=int, metavar=("A", "B"), help="two seeds, whose first samples are met")
    parser.add_argument("--num", type=int, default=9, help="how many images, both ends included (default 9)")
    parser.add_argument("--label", help="what they are, a class or a text; nothing by default")
    parser.add_argument("--resize", action="store_true", help="crop and resize images of another size")
    sample.add_sampler_flags(parser)


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Interpolates between latents along the sphere; returns the directory of the results, interpolations/NAME.

    Two images are inverted and generated without guidance, by the sampler of --mode edit. Two seeds
    are the initial noise of sample 0 of --mode sample, and generated as there. Reads no training data.

    Raises:
      UserError: neither two images nor two seeds, or both; otherwise as for --mode edit.
    """
    if (args.between is None) == (args.seeds is None):
        raise UserError("give two images by --between A B, or two seeds by --seeds A B")
    if args.num < 2:
        raise UserError(f"--num must be >= 2, got {args.num}")
    if args.between is not None:
        path = _between(config, workdir, args)
    else:
        path = _between_seeds(config, workdir, args)
    if distributed.is_first():
        print(f"  {path}\n  {path / edits.PICTURE}", flush=True)
    return path


def _between(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    if args.guidance_scale is not None:
        raise UserError("--guidance_scale is for --seeds: what lies between two images is generated without guidance")
    model = sample.opened(config, workdir, edit.inverting(config, args, None))
    condition = _condition(model, args)
    ends = np.concatenate([_one(name, model, args.resize) for name in args.between])
    x = editing.between(model, ends, args.num, condition, average=args.ema)
    error = float(np.abs(x[[0, -1]] - ends).mean()) / (1 if model.num_levels is None else 2)
    stems = [pathlib.Path(name).resolve().stem for name in args.between]
    record = {"between": stems, "digest": digest(ends), "num": args.num, "label": args.label}
    path = _written(workdir, editing.without_guidance(model), f"{stems[0]}-to-{stems[1]}", record, x, args)
    if distributed.is_first():
        print(f"{args.num} images from {stems[0]} to {stems[1]}; at the ends reconstructed to {error:.2g}")
    return path


def _between_seeds(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    first, last = args.seeds
    if min(args.seeds) < 0:
        raise UserError(f"--seeds must be >= 0, got {min(args.seeds)}")
    model = sample.opened(config, workdir, sample.sampler_overrides(config, args, args.guidance_scale))
    x = editing.between_seeds(model, (first, last), args.num, _condition(model, args), average=args.ema)
    record = {"seeds": [first, last], "num": args.num, "label": args.label}
    path = _written(workdir, model, f"seeds-{first}-to-{last}", record, x, args)
    if distributed.is_first():
        print(f"{args.num} samples from seed {first} to seed {last}:")
    return path


def _condition(model: Trained, args: argparse.Namespace) -> dict[str, Any]:
    if args.label is not None:
        return asked.of_word(model.model, "--label", args.label)
    asked.check_null_is_learned(model.model, "--label")
    return {}


def _one(name: str, model: Trained, resize: bool) -> np.ndarray:
    """The image at one end, (1, *sample_shape)."""
    x = inputs.read(name, model.model, resize=resize).x
    if len(x) != 1:
        raise UserError(f"--between takes two images, and {name} has {len(x)}")
    return x


def _written(
    workdir: pathlib.Path, model: Trained, words: str, record: dict[str, Any], x: np.ndarray, args: argparse.Namespace
) -> pathlib.Path:
    words = words if args.label is None else f"{words}_{args.label}"
    path = edits.directory(workdir / edits.INTERPOLATIONS, model, words, record, args.ema)
    if distributed.is_first():
        edits.write_row(path, x, is_image=model.num_levels is not None)
        edits.write_record(path, edits.described(model, record, args.ema))
    return path
