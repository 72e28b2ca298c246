"""--sweep FILE: trains every point of a sweep; the same command goes on, with points added if the file has more.

The file has get_points(), an iterable of override dictionaries, or get_study(), an object with ask and tell
(diffax.sweeps). Points that are finished are passed over, those that failed as well unless --retry_failed is given.
"""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from diffax import allocator, config_file, resolve
from diffax.runs import reports
from diffax.runs.errors import UserError, for_people
from diffax.sweeps import charts, directory, points, slurm, summary, workers
from diffax.sweeps.directory import State
from diffax.sweeps.points import Point

WHERE = ("sequential", "local", "vmapped", "slurm", "commands")


def flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a sweep."""
    parser.add_argument(
        "--where",
        default="sequential",
        choices=WHERE,
        help="points one after another (default), by worker processes of this machine, together in one compiled "
        "program where they differ in numbers alone, as jobs of SLURM, or as printed commands",
    )
    parser.add_argument("--num_workers", type=int, help="of --where local; one a GPU, or one for two cores by default")
    parser.add_argument("--num_together", type=int, help="points in one program at most, of --where vmapped")
    parser.add_argument(
        "--slurm", default="", metavar="KEY=VALUE,...", help="submitit's: timeout_min=60,slurm_partition=gpu"
    )
    parser.add_argument("--cluster", choices=("slurm", "local", "debug"), help="submitit's executor; slurm by default")
    parser.add_argument("--dry_run", action="store_true", help="print the points and their planned cost")
    parser.add_argument("--retry_failed", action="store_true", help="train failed points again")
    parser.add_argument("--fail_fast", action="store_true", help="the first point that fails ends the sweep")
    parser.add_argument("--metric", help="of the summary, a name in metrics.jsonl; config.train.best by default")
    parser.add_argument("--metric_is", choices=("lowest", "highest"), help="which value of the metric is best")
    parser.add_argument("--point", action="append", metavar="NAME", help="train this point alone (what jobs do)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cores", default="", help=argparse.SUPPRESS)


def workdir_of(config: str, sweep: str) -> pathlib.Path:
    """The directory of a sweep unless --workdir gives one: runs/CONFIG-SWEEPFILE."""
    return pathlib.Path("runs") / f"{pathlib.Path(config).stem}-{pathlib.Path(sweep).stem}"


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Runs the command; config: the base configuration, with the overrides of the command line, unresolved.

    Raises:
      UserError: something to mend in command or sweep file, before anything is written; points that failed, when all
        others are done.
      Preempted: SIGTERM or Ctrl-C came; all is saved.
    """
    if args.point:
        _run_named(config, workdir, args)
        return
    _check(args)
    with for_people():
        base, given = resolve.resolve(config), config_file.call(args.sweep, ("get_points", "get_study"), "--sweep")
    if hasattr(given, "ask") and hasattr(given, "tell"):
        _run_study(config, base, given, workdir, args)
        return
    try:
        chosen = points.resolved(config, given)
    except ValueError as error:
        raise UserError(f"--sweep {args.sweep}: {error}") from error
    if args.dry_run:
        from diffax.sweeps import planned

        planned.report(chosen, workdir)
        return
    directory.claim(workdir, base)
    directory.record(workdir, chosen)
    try:
        _train(workdir, chosen, args)
    finally:
        made = _summarized(workdir, chosen, args)
    if args.where not in ("commands", "slurm"):
        _refuse_unfinished(made)


def _train(workdir: pathlib.Path, chosen: Sequence[Point], args: argparse.Namespace) -> None:
    """Trains points where --where says."""
    directory.reset(workdir, [point.name for point in chosen], retry_failed=args.retry_failed)
    if args.where == "sequential":
        from diffax.sweeps import sequential

        sequential.run(workdir, chosen, fail_fast=args.fail_fast)
    elif args.where == "vmapped":
        from diffax.sweeps import vmapped

        vmapped.run(workdir, chosen, num_together=args.num_together, fail_fast=args.fail_fast)
    elif args.where == "local":
        more = ["--fail_fast"] if args.fail_fast else []
        workers.run(workdir, chosen, [*_command(workdir, args), *more], args.num_workers, fail_fast=args.fail_fast)
    else:
        to_do = [one for one in chosen if directory.status(workdir, one.name).state is State.PENDING]
        if args.where == "commands":
            for point in to_do:
                print(shlex.join([*_command(workdir, args), f"--point={point.name}"]))
            return
        parameters, command = slurm.parsed_parameters(args.slurm), _command(workdir, args)
        jobs = slurm.submit(workdir, to_do, command, cluster=args.cluster, parameters=parameters)
        print(
            f"{len(jobs)} jobs submitted, with logs in {workdir / slurm.FOLDER}: the same command sums up", flush=True
        )
        if args.cluster in ("local", "debug"):
            for job in jobs:
                # Not job.wait, which opens a debugger in the debug executor.
                if (error := job.exception()) is not None:
                    print(f"job {job.job_id}: {' '.join(str(error).split())}", flush=True)


def _run_named(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Trains the points of --point: as a worker those that nobody has begun, else each unless it is finished."""
    chosen_cores = [int(core) for core in args.cores.split(",") if core]
    if args.worker:
        workers.be_worker(chosen_cores)
    from diffax.sweeps import sequential

    with for_people():
        base = resolve.resolve(config)
    if not (workdir / directory.FILENAME).exists():
        raise UserError(f"--point: --workdir {workdir} is no sweep's directory")
    directory.claim(workdir, base)
    chosen = [directory.recorded(workdir, name, config) for name in args.point]
    if args.worker:
        sequential.run(workdir, chosen, fail_fast=args.fail_fast)
        return
    if args.retry_failed:
        directory.reset(workdir, args.point, retry_failed=True)
    for point in chosen:
        ended = sequential.run_point(workdir, point, only_pending=False)
        if ended.state is State.FAILED:
            raise UserError(f"{point.name} failed: {ended.message} (--retry_failed tries again)")
        print(f"{workdir / point.name}: {ended.state.value}", flush=True)


def _run_study(
    config: ConfigDict, base: ConfigDict, study: Any, workdir: pathlib.Path, args: argparse.Namespace
) -> None:
    """Trains what a study asks for, as many points at a time as there are workers, and tells it how they ended."""
    if args.dry_run or args.where in ("slurm", "commands"):
        what = "--dry_run" if args.dry_run else f"--where {args.where}"
        raise UserError(
            f"--sweep {args.sweep}: the points of a study depend on results, which {what} does not wait for"
        )
    directory.claim(workdir, base)
    at_a_time = {"local": args.num_workers or 1, "vmapped": args.num_together or 1}.get(args.where, 1)
    chosen: list[Point] = []
    try:
        while asked := _asked(study, at_a_time, args.sweep):
            with for_people():
                found = [points.resolved_one(config, overrides) for overrides in asked]
            new = [point for point in found if point.name not in {one.name for one in chosen}]
            directory.record(workdir, new)
            chosen += new
            _train(workdir, found, args)
            made = summary.summarize(workdir, found, {}, args.metric, args.metric_is)
            for overrides, point in zip(asked, found, strict=True):
                study.tell(overrides, summary.value(made, point.name))
    finally:
        end = _summarized(workdir, chosen, args) if chosen else None
    if end is None:
        raise UserError(f"--sweep {args.sweep}: the study asked for no point")
    _refuse_unfinished(end)


def _asked(study: Any, num: int, path: str) -> list[Any]:
    """Up to num points that a study asks for."""
    asked: list[Any] = []
    while len(asked) < num and (overrides := study.ask()) is not None:
        if not hasattr(overrides, "keys"):
            raise UserError(f"--sweep {path}: ask() must return an override dictionary or None, got {overrides!r}")
        asked.append(overrides)
    return asked


def _command(workdir: pathlib.Path, args: argparse.Namespace) -> list[str]:
    """This command, for another process."""
    overrides = [f"--config.{path}={text}" for path, text in args.overrides]
    switches = {"--no-compilation_cache": args.compilation_cache, allocator.OFF: args.tune_malloc}
    off = [flag for flag, on in switches.items() if not on]
    devices = [] if args.cpu_devices is None else [f"--cpu_devices={args.cpu_devices}"]
    named = ["--config", args.config, *overrides, "--sweep", args.sweep, "--workdir", str(workdir)]
    return [sys.executable, args.program, *named, *off, *devices]


def _summarized(workdir: pathlib.Path, chosen: Sequence[Point], args: argparse.Namespace) -> summary.Summary:
    """Writes and prints the summary, with its plots."""
    what = {"config": args.config, "sweep": args.sweep, "directory": str(workdir)}
    made = summary.summarize(workdir, chosen, what, args.metric, args.metric_is)
    if not made["counts"].get(State.FINISHED):
        made["plots"] = []
    else:
        made["plots"] = charts.write(workdir, made)
    summary.write(workdir, made)
    reports.after(workdir)
    if args.where != "commands":
        print(f"\n{summary.as_markdown(made)}", flush=True)
        print(f"{workdir / summary.MARKDOWN} has this table, {reports.FILENAME} beside it the figures", flush=True)
    return made


def _refuse_unfinished(made: summary.Summary) -> None:
    """Raises UserError where points are not finished."""
    counts = made["counts"]
    if counts.get(State.FAILED):
        raise UserError(
            f"{counts[State.FAILED]} of {len(made['points'])} points failed: --retry_failed tries them again"
        )
    unfinished = len(made["points"]) - counts.get(State.FINISHED, 0)
    if unfinished:
        raise UserError(
            f"{unfinished} of {len(made['points'])} points are not finished: the same command continues them"
        )


def _check(args: argparse.Namespace) -> None:
    """Raises UserError for flags that do not go together."""
    if args.config is None:
        raise UserError("--sweep needs the base configuration, --config FILE")
    of: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "num_workers": ("local", lambda number: number >= 1),
        "num_together": ("vmapped", lambda number: number >= 1),
        "slurm": ("slurm", lambda text: True),
        "cluster": ("slurm", lambda text: True),
    }
    for name, (where, is_fit) in of.items():
        value = getattr(args, name)
        if value and args.where != where:
            raise UserError(f"--{name} is for --where {where}, and this is --where {args.where}")
        if value is not None and not is_fit(value):
            raise UserError(f"--{name} must be >= 1, got {value}")
