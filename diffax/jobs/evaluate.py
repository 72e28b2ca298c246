"""--mode evaluate: metrics of samples of one run or several, over samplers, evaluations, guidance and averages."""

import argparse
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from diffax import build_data, devices, distributed, resolve
from diffax.evaluation import metrics, table
from diffax.evaluation.measurement import Measurement, check_comparable, over_seeds
from diffax.jobs.sample import check_at_least_one, names_of
from diffax.reporting import progress
from diffax.reporting.progress import Progress
from diffax.runs import asked, grid, opening, reports, sample_sets
from diffax.runs import directory as run_directory
from diffax.runs.errors import UserError, for_people
from diffax.runs.grid import Candidate
from diffax.runs.measuring import Protocol

FOLDER = "evaluations"


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this mode."""
    parser.add_argument("--metrics", type=names_of, help="short for --config.evaluation.metrics: frechet,kernel,...")
    parser.add_argument("--features", metavar="NAME", help="short for --config.evaluation.features.name")
    parser.add_argument("--num_samples", type=int, help="short for --config.evaluation.num_samples")
    parser.add_argument(
        "--runs", type=names_of, metavar="DIRS", help="run directories to compare, instead of --workdir"
    )
    parser.add_argument(
        "--sets", type=names_of, metavar="PATHS", help="samples beside them: sample sets, .npz, folders"
    )
    parser.add_argument("--samplers", type=names_of, metavar="NAMES", help="samplers to compare")
    parser.add_argument("--evaluations", type=_numbers(int), metavar="NUMBERS", help="numbers of network evaluations")
    parser.add_argument("--guidance_scales", type=_numbers(float), metavar="NUMBERS", help="guidance scales")
    parser.add_argument("--averages", type=names_of, metavar="NAMES", help="averages of config.ema")
    parser.add_argument("--seeds", type=_numbers(int), default=[0], help="of the samples (default 0)")
    parser.add_argument("--select", metavar="METRIC", help="choose the best by this, and measure it on --report_seeds")
    parser.add_argument("--report_seeds", type=_numbers(int), default=[], help="by default three that follow --seeds")
    parser.add_argument("--batch_size", type=int, default=256, help="samples at once (default 256)")


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Measures every combination; returns the directory of the table, evaluations/NAME of the run.

    It holds results.json, table.csv, table.md, report.html and quality.png, the metric against the evaluations with its
    Pareto front. Samples are kept in the run's sample sets, and values beside them, so that an interrupted evaluation
    continues and a larger one measures what is new.

    Raises:
      UserError: no checkpoint, settings that do not exist or fit, or values that may not be compared.
    """
    check_at_least_one(args, "batch_size")
    for name, smallest in (("seeds", 0), ("report_seeds", 0), ("evaluations", 1)):
        given = getattr(args, name)
        if given is not None and (min(given, default=smallest) < smallest or (name == "seeds" and not given)):
            raise UserError(f"--{name} must be whole numbers >= {smallest}, got {_listed(given) or 'none'}")
    with for_people():
        config = resolve.resolve(resolve.override(config, _overrides(args)))
    run_directory.check_same_run(workdir, config, run_directory.WHEN_OPENED)
    chosen = _candidates(config, workdir, args)
    report_seeds = _report_seeds(args)
    with for_people():
        training, held_out = build_data.splits(config, report=progress.downloads())
        protocol = Protocol.of(config, training, held_out)
    measurements = _measured(protocol, chosen, args.seeds, args.batch_size, config.evaluation.labels)
    measurements += _of_foreign_sets(protocol, args.sets or [])
    with for_people():
        check_comparable(measurements)
    selection = None
    if args.select is not None:
        best = _best(measurements, args.select, len(chosen))
        selected = _measured(protocol, [chosen[best]], report_seeds, args.batch_size, config.evaluation.labels)
        selection = _selection(args, measurements, selected, len(chosen))
    directory = workdir / FOLDER / _name(config, args)
    if distributed.is_first():
        made_by = {"command": _request(config, args), "environment": devices.describe()}
        table.write(directory, measurements, selection, made_by)
        reports.after(directory)
        print(table.text(measurements, selection), flush=True)
        print(f"written to {directory}", flush=True)
    return directory


def _candidates(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> list[Candidate]:
    directories = [pathlib.Path(name) for name in args.runs] if args.runs else [workdir]
    found: list[Candidate] = []
    for directory in directories:
        model = opening.open_with(directory, config) if directory == workdir else opening.open(directory)
        over = {name: getattr(args, name) or () for name in ("samplers", "evaluations", "guidance_scales", "averages")}
        found += grid.candidates(directory.name, directory / sample_sets.FOLDER, model, **over)
    return found


def _measured(
    protocol: Protocol, candidates: Sequence[Candidate], seeds: Sequence[int], batch_size: int, labels: str
) -> list[Measurement]:
    """The measurements of all candidates, each over sample sets of all seeds."""
    n, done, first = protocol.num_samples, 0, distributed.is_first()
    result = []
    with Progress(n * len(candidates) * len(seeds), description="evaluate", unit="samples", enabled=first) as bar:
        for candidate in candidates:
            estimates: dict[str, dict[int, Any]] = {}
            settings: dict[str, Any] = {}
            for seed in seeds:
                report = functools.partial(_report, bar, done)
                path = sample_sets.fill(
                    candidate.model,
                    candidate.root,
                    n,
                    seed=seed,
                    labels=labels,
                    batch_size=batch_size,
                    wanted=asked.of_examples(candidate.model.model, protocol.reference_examples, n, seed=seed),
                    average=candidate.average,
                    report=report,
                )
                done += n
                drawn = sample_sets.sample_set(path)
                settings = protocol.settings(drawn)
                for name, estimate in protocol.measure(drawn, path, seed).items():
                    estimates.setdefault(name, {})[seed] = estimate
                bar.update(done)
            subject = candidate.subject() | protocol.remark(candidate.model.trained_on)
            result += _measurements(estimates, n, settings, subject)
    return result


def _report(bar: Progress, before: int, count: int) -> None:
    bar.update(before + count)


def _of_foreign_sets(protocol: Protocol, paths: Sequence[str]) -> list[Measurement]:
    """The measurements of sample sets that other commands or codebases made."""
    result = []
    for path in paths:
        drawn = sample_sets.sample_set(path)
        estimates = {name: {0: estimate} for name, estimate in protocol.measure(drawn, None).items()}
        result += _measurements(estimates, protocol.num_samples, protocol.settings(drawn), {"run": drawn.name})
    return result


def _measurements(
    estimates: dict[str, dict[int, Any]], n: int, settings: dict[str, Any], subject: dict[str, Any]
) -> list[Measurement]:
    return [
        Measurement(name, *over_seeds(of_seeds), n, tuple(of_seeds), settings, subject)
        for name, of_seeds in estimates.items()
    ]


def _best(measurements: Sequence[Measurement], metric: str, num_candidates: int) -> int:
    """The index of the best candidate by a metric, given by its full name or the part before the slash."""
    values = [one for one in measurements if _is_called(one, metric)][:num_candidates]
    if not values:
        names = ", ".join(dict.fromkeys(one.metric for one in measurements))
        raise UserError(f"--select {metric} must be one of the values measured: {names}")
    with for_people():
        return metrics.best(values)


def _is_called(one: Measurement, name: str) -> bool:
    """Whether a metric is asked for by its full name, or by the part of it before features and number of samples."""
    return name in (one.metric, one.metric.partition("/")[0].partition("@")[0])


def _selection(
    args: argparse.Namespace, measurements: Sequence[Measurement], selected: list[Measurement], num_candidates: int
) -> dict[str, Any]:
    """What was selected on what, and its measurements on other samples."""
    metric = next(one.metric for one in measurements if _is_called(one, args.select))
    sentence = (
        f"selected among {num_candidates} by {metric} on seeds {_listed(args.seeds)}; "
        f"measured again on seeds {_listed(selected[0].seeds)}"
    )
    return {"selected_by": sentence, "measurements": [one.to_json() for one in selected]}


def _report_seeds(args: argparse.Namespace) -> list[int]:
    """The seeds that report what --select chose, refused where they chose it."""
    seeds = args.report_seeds or [max(args.seeds) + 1 + index for index in range(3)]
    shared = sorted(set(seeds) & set(args.seeds))
    if args.select is not None and shared:
        raise UserError(
            f"--report_seeds {_listed(seeds)} and --seeds share {_listed(shared)}: samples that choose cannot "
            "also report"
        )
    return seeds


def _overrides(args: argparse.Namespace) -> list[tuple[str, str]]:
    """The short flags as overrides of config.evaluation."""
    overrides = [] if args.features is None else [("evaluation.features.name", args.features)]
    overrides += [] if args.num_samples is None else [("evaluation.num_samples", str(args.num_samples))]
    return overrides + ([] if args.metrics is None else [("evaluation.metrics", repr(tuple(args.metrics)))])


def _request(config: ConfigDict, args: argparse.Namespace) -> dict[str, Any]:
    names = (
        "runs",
        "sets",
        "samplers",
        "evaluations",
        "guidance_scales",
        "averages",
        "seeds",
        "select",
        "report_seeds",
    )
    asked = {name: getattr(args, name) for name in names if getattr(args, name)}
    return asked | {"evaluation": json.loads(json.dumps(config.evaluation.to_dict()))}


def _name(config: ConfigDict, args: argparse.Namespace) -> str:
    """A name that differs for all that was asked for: features, number of samples, and a hash."""
    request = _request(config, args) | {"sampler": json.loads(json.dumps(config.sampler.to_dict()))}
    request |= run_directory.computed_in(config)
    asked = hashlib.sha256(json.dumps(request, sort_keys=True).encode())
    options = config.evaluation
    return f"{options.features.name.replace(':', '-')}_{options.num_samples}_{asked.hexdigest()[:6]}"


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def parse(text: str) -> list[Any]:
        try:
            return [kind(name) for name in names_of(text)]
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected numbers separated by commas, got {text!r}") from None

    return parse


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
