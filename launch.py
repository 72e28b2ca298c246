"""The command line: `python launch.py --config configs/digits.py`; --help lists the modes and their flags.

With --sweep FILE it trains every point of a sweep over the config (diffax.sweeps), and ends with 2 if one failed.

Several processes, each started with the same command, are one run: on a cluster that JAX knows (SLURM, Open MPI,
Kubernetes, Cloud TPU) by themselves, elsewhere by --coordinator HOST:PORT --num_processes N --process_id I.

Exit codes: 0 done, 2 something to mend in the command, the config or on the disk (one line says what), 3 training or
sampling met numbers that are not finite, 75 (EX_TEMPFAIL of sysexits.h) training stopped for SIGTERM or Ctrl-C and
saved its last step: the same command goes on. A second signal ends it at once without saving, as does the first where
nothing is being trained: 143 for SIGTERM, 130 for Ctrl-C. 4: another process of the run died (where JAX itself sees
that first: 134, and it says so).
"""

import argparse
import contextlib
import gc
import importlib
import pathlib
import sys
import warnings
from types import ModuleType
from typing import Any, NoReturn

from diffax import allocator, devices

if __name__ == "__main__":
    if not devices.may_use_accelerator():
        allocator.restart(sys.argv)
    # Until all is imported: none of it is garbage, and looking through it took 0.4 s of a second start of 5.0.
    gc.disable()
devices.configure()  # before JAX starts

# A mode is a file of diffax/jobs with flags(parser) and run(config, workdir, args); its docstring is its help.
MODES = (
    "train",
    "sample",
    "edit",
    "interpolate",
    "reflow",
    "evaluate",
    "likelihood",
    "report",
    "plan",
    "inspect_data",
    "encode",
    "show",
)

PREEMPTED = 75
EXAMPLES = """examples:
  python launch.py --config configs/digits.py
  python launch.py --config configs/digits.py --config.loss.weighting.name=min_snr --config.loss.weighting.gamma=5
  python launch.py --workdir runs/digits --mode sample --num_samples 100 --config.sampler.name=unipc
  python launch.py --config configs/digits.py --sweep configs/sweeps/schedules.py --dry_run
"""


def main(argv: list[str]) -> int:
    """Runs one command; returns its exit code."""
    import jax

    from diffax import distributed

    code = _main(argv)
    # At other ends all processes come together, and say farewell to each other.
    if code in (2, 4) and jax.distributed.is_initialized():
        distributed.leave(code)
    return code


def _main(argv: list[str]) -> int:
    import jax

    from diffax import distributed
    from diffax.runs.errors import Preempted, UserError

    try:
        args, overrides = _parse(argv[1:])
        if args is None:
            return 0
        job = _job(args)
        if not gc.isenabled():  # in a process of its own, see above
            gc.freeze()
            gc.enable()
        config, workdir = _config(args, overrides, needed=getattr(job, "NEEDS_CONFIG", True))
        _start(args, config)
        devices.enable_compilation_cache(enabled=args.compilation_cache)
        job.run(config, workdir, args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except FloatingPointError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 3
    except Preempted as error:
        print(f"stopped: {error}", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except jax.errors.JaxRuntimeError as error:
        if not distributed.lost_another(error):
            raise
        reason = str(error).splitlines()[0]
        print(
            f"stopped: another process of this run is gone ({reason}); start all of them again, and they go on from "
            "the last checkpoint",
            file=sys.stderr,
        )
        return 4
    return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UserErrors of one line."""

    def error(self, message: str) -> NoReturn:
        from diffax.runs.errors import UserError

        raise UserError(f"{message} (--help lists the flags)")


def _job(args: argparse.Namespace) -> ModuleType:
    """The module of a command: of its mode, or of its sweep."""
    from diffax.runs.errors import UserError

    if args.sweep is None:
        return _job_of(args.mode)
    if args.mode != "train":
        raise UserError(f"--sweep trains, and this is --mode {args.mode}")
    return importlib.import_module("diffax.sweeps.command")


def _job_of(mode: str) -> ModuleType:
    """The module of a mode."""
    return importlib.import_module(f"diffax.jobs.{mode}")


def _common(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of all modes."""
    parser.add_argument("--config", metavar="FILE", help="a file of configs/; by default the run's own configuration")
    parser.add_argument("--config.KEY", metavar="VALUE", help="changes a setting (--mode show lists all)")
    parser.add_argument("--sweep", metavar="FILE", help="train the points of a file of configs/sweeps/ over the config")
    parser.add_argument("--mode", default="train", choices=MODES, help="what to do (default train)")
    parser.add_argument("--workdir", metavar="DIR", help="the run's directory; runs/NAME of the config by default")
    parser.add_argument(
        "--compilation_cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep compiled programs for the next start",
    )
    parser.add_argument(
        "--tune_malloc",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="restart with settings of malloc that keep freed memory, faster on the CPU (Linux without an accelerator)",
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0, where JAX knows no cluster")
    parser.add_argument("--num_processes", type=int, help="of the run; 1 for this one alone on any cluster")
    parser.add_argument("--process_id", type=int, help="of this one, from 0")
    parser.add_argument("--cpu_devices", type=int, help="run on the CPU, as so many devices")


def _parse(argv: list[str]) -> tuple[argparse.Namespace | None, list[tuple[str, str]]]:
    """The flags and the overrides of settings; None for a command that only asked for help.

    Raises:
      UserError: a flag that does not exist or has a value of the wrong type.
    """
    from diffax.runs.errors import UserError

    rest, overrides = _split_overrides(argv)
    if any(flag in rest for flag in ("-h", "--help", "--helpfull")):
        _help(rest)
        return None, []
    first = _Parser(add_help=False, allow_abbrev=False)
    _common(first)
    known, _ = first.parse_known_args(rest)
    parser = _Parser(prog="launch.py", add_help=False, allow_abbrev=False)
    _common(parser)
    _job(known).flags(parser)
    args, unknown = parser.parse_known_args(rest)
    if unknown:
        _refuse(unknown[0], known.mode, parser)
    if args.cpu_devices is not None and args.cpu_devices < 1:
        raise UserError(f"--cpu_devices must be >= 1, got {args.cpu_devices}")
    # A sweep starts this command in other processes.
    args.program, args.overrides = __file__, overrides
    return args, overrides


def _split_overrides(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The arguments without --config.PATH=TEXT (or --config.PATH TEXT), and those as (path, text)."""
    from diffax.runs.errors import UserError

    rest: list[str] = []
    overrides: list[tuple[str, str]] = []
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith("--config."):
            rest.append(argument)
            continue
        path, has_value, text = argument.removeprefix("--config.").partition("=")
        if not has_value:
            value = next(arguments, None)
            if value is None:
                raise UserError(f"{argument} needs a value: {argument}=VALUE")
            text = value
        overrides.append((path, text))
    return rest, overrides


def _refuse(argument: str, mode: str, parser: argparse.ArgumentParser) -> NoReturn:
    """Raises UserError for an argument that this mode does not have."""
    from diffax import choices
    from diffax.runs.errors import UserError

    if not argument.startswith("-"):
        raise UserError(f"unexpected argument {argument!r}; options start with --")
    flag = argument.partition("=")[0]
    for other in MODES:
        of_other = _Parser(add_help=False, allow_abbrev=False)
        _job_of(other).flags(of_other)
        if flag in of_other._option_string_actions:
            raise UserError(f"{flag} is for --mode {other}, and this is --mode {mode}")
    near = choices.nearest(flag, parser._option_string_actions)
    raise UserError(f"unknown flag {flag}{near or ' (--help lists the flags)'}")


def _help(arguments: list[str]) -> None:
    """Prints the modes, and the flags of the one that was named, or with --helpfull of all."""
    named = [mode for mode in MODES if mode in arguments or f"--mode={mode}" in arguments]
    shown = MODES if "--helpfull" in arguments or not named else named
    parser = argparse.ArgumentParser(
        prog="launch.py",
        usage="python launch.py --config FILE [--mode MODE] [--workdir DIR] [--config.KEY=VALUE ...]",
        description="Trains and samples diffusion and flow models. --help lists every mode, --mode MODE --help one.",
        add_help=False,
    )
    _common(parser)
    print(parser.format_help())
    sweep = importlib.import_module("diffax.sweeps.command")
    for job in [*map(_job_of, shown), *([] if named else [sweep])]:
        section = argparse.ArgumentParser(
            usage=argparse.SUPPRESS, description=(job.__doc__ or "").splitlines()[0], add_help=False
        )
        job.flags(section)
        print(section.format_help().lstrip())
    print(EXAMPLES)


def _start(args: argparse.Namespace, config: Any) -> None:
    """Sets up the devices, and joins the other processes of the run."""

    from diffax import distributed
    from diffax.runs.errors import UserError

    if config is not None and config.model.get("dtype") == "bfloat16":
        devices.configure_bfloat16()
    if args.cpu_devices is not None:
        devices.use_cpu_devices(args.cpu_devices)
    try:
        distributed.start(args.coordinator, args.num_processes, args.process_id)
    except ValueError as error:
        raise UserError(str(error)) from error
    except RuntimeError as error:
        raise UserError(
            f"the other processes were not met ({str(error).splitlines()[0]}): start all with one --coordinator and "
            "a --process_id each, or --num_processes=1 to run alone"
        ) from error


def _config(args: argparse.Namespace, overrides: list[tuple[str, str]], *, needed: bool = True):
    """The resolved configuration to run, and where; needed: whether a directory without one is refused."""
    from diffax import config_file, resolve
    from diffax.runs import directory as run_directory
    from diffax.runs.errors import UserError, for_people

    if args.config is None and args.workdir is None:
        raise UserError("give --config FILE (such as configs/digits.py), or --workdir DIR of a run")
    workdir = pathlib.Path(args.workdir or _workdir(args))
    if args.config is not None:
        with for_people():
            config = config_file.load(args.config)
    else:
        config_file.find_modules()
        config = run_directory.read_config(workdir)
        if config is None:
            if not needed:
                return None, workdir
            raise UserError(f"--workdir {workdir} is no run's directory: it has no config.json")
    with for_people():
        config = resolve.override(config, overrides)
        # The points of a sweep are overrides like those of the command, and resolved with them.
        return config if args.sweep else resolve.resolve(config), workdir


def _workdir(args: argparse.Namespace) -> pathlib.Path:
    """The directory of a run or a sweep unless --workdir gives one."""
    names = [pathlib.Path(path).stem for path in (args.config, args.sweep) if path is not None]
    return pathlib.Path("runs") / "-".join(names)


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv))
