"""Flags to a config to a job: `python launch.py --config configs/digits_ddpm.py`; --help lists the flags.

Several processes, each started with the same command, are one run: on a cluster that JAX knows (SLURM, Open MPI,
Kubernetes, Cloud TPU) by themselves, elsewhere by --coordinator HOST:PORT --num_processes N --process_id I.

Exit codes: 0 done, 2 something to mend in the command, the config or on the disk (one line says what), 3 training or
sampling met numbers that are not finite, 75 (EX_TEMPFAIL of sysexits.h) training stopped for SIGTERM or Ctrl-C and
saved its last step: the same command goes on. A second signal ends it at once without saving, as does the first where
nothing is being trained: 143 for SIGTERM, 130 for Ctrl-C. 4: another process of the run died (where JAX itself sees
that first: 134, and it says so).
"""

import contextlib
import pathlib
import sys
import warnings

from diffax import devices

devices.configure()  # before JAX starts

import jax  # noqa: E402
from absl import flags  # noqa: E402
from ml_collections import ConfigDict, config_flags  # noqa: E402

from diffax import distributed  # noqa: E402
from diffax.jobs import Preempted, UserError, inspect_data, plan, run_directory, sample, train  # noqa: E402

PREEMPTED = 75

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A file of configs/; sample takes the run's own instead."
)
_MODE = flags.DEFINE_enum("mode", "train", ["train", "sample", "plan", "inspect_data"], "What to do.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's directory; runs/NAME of the config by default.")
_ALLOW_CHANGE = flags.DEFINE_list("allow_change", [], "Settings that may differ from the run to be resumed.")
_CACHE = flags.DEFINE_bool("compilation_cache", True, "Keep compiled programs for the next start.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 64, "sample: how many.")
_SAMPLER = flags.DEFINE_string("sampler", None, "sample: instead of config.sampler.name.")
_NUM_STEPS = flags.DEFINE_integer("num_steps", None, "sample: instead of config.sampler.num_steps.")
_GUIDANCE = flags.DEFINE_float("guidance_scale", None, "sample: instead of config.sampler.guidance_scale.")
_LABEL = flags.DEFINE_integer("label", None, "sample: the class to draw; each in turn by default.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "sample: how many at once.", lower_bound=1)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where JAX knows no cluster.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Of the run; 1 for this one alone on any cluster.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Of this one, from 0.")
_CPU_DEVICES = flags.DEFINE_integer("cpu_devices", None, "Runs on the CPU, as so many devices.", lower_bound=1)
_MEMORY = flags.DEFINE_float("memory_gb", None, "plan: of a device, instead of this one's.", lower_bound=0)
_SEED = flags.DEFINE_integer("seed", 0, "sample: seed of the samples.")
_EMA = flags.DEFINE_integer("ema", 0, "sample: which of the averages of config.ema, the first is 0.")


def main(argv: list[str]) -> int:
    """Runs one command; returns its exit code."""
    code = _main(argv)
    # To other ends all processes come together, and take leave of each other.
    if code in (2, 4) and jax.distributed.is_initialized():
        distributed.leave(code)
    return code


def _main(argv: list[str]) -> int:
    try:
        _parse(argv)
        config, workdir = _run()
        _start()
        # A plan says how long compiling takes.
        devices.enable_compilation_cache(enabled=_CACHE.value and _MODE.value != "plan")
        if _MODE.value == "train":
            train.run(config, workdir, allow_change=tuple(_ALLOW_CHANGE.value))
        elif _MODE.value == "plan":
            plan.run(config, workdir, memory_gb=_MEMORY.value)
        elif _MODE.value == "inspect_data":
            inspect_data.run(config, workdir.with_name(f"{workdir.name}_data.png"))
        else:
            sample.run(
                config,
                workdir,
                num_samples=_NUM_SAMPLES.value,
                batch_size=_BATCH_SIZE.value,
                seed=_SEED.value,
                label=_LABEL.value,
                average=_EMA.value,
            )
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


def _parse(argv: list[str]) -> None:
    """Reads the flags.

    Raises:
      UserError: a flag, a config file or a setting of it that does not exist or has the wrong type.
    """
    try:
        rest = flags.FLAGS(argv)
        # A file that could not be loaded says so only when it is looked at.
        getattr(_CONFIG.value, "seed", None)
    except flags.Error as error:
        raise UserError(str(error)) from error
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        # What ml_collections raises for an unknown setting, and a config file for its own mistakes.
        raise UserError(f"--config: {' '.join(str(error).split())}") from error
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; options start with --")


def _start() -> None:
    """Joins the other processes of the run."""
    if _CPU_DEVICES.value is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
    try:
        distributed.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    except ValueError as error:
        raise UserError(str(error)) from error
    except RuntimeError as error:
        raise UserError(
            f"the other processes were not met ({str(error).splitlines()[0]}): start all with one --coordinator and "
            "a --process_id each, or --num_processes=1 to run alone"
        ) from error


def _run() -> tuple[ConfigDict, pathlib.Path]:
    """The config to run, and where."""
    config = _CONFIG.value
    if _WORKDIR.value is None and config is None:
        raise UserError("give --config FILE (such as configs/digits_ddpm.py), or --workdir DIR of a run to sample")
    name = "" if config is None else flags.FLAGS["config"].config_filename  # type: ignore[attr-defined]
    workdir = pathlib.Path(_WORKDIR.value or pathlib.Path("runs") / pathlib.Path(name).stem)
    if config is None:
        if _MODE.value == "train":
            raise UserError("--mode train needs --config FILE, such as configs/digits_ddpm.py")
        config = run_directory.read_config(workdir)
        if config is None:
            raise UserError(f"--workdir {workdir} is no run's directory: it has no config.json")
    overrides = {"name": _SAMPLER.value, "num_steps": _NUM_STEPS.value, "guidance_scale": _GUIDANCE.value}
    given = {key: value for key, value in overrides.items() if value is not None}
    if given and _MODE.value != "sample":
        raise UserError("--sampler, --num_steps and --guidance_scale are for --mode sample; use --config.sampler.NAME")
    with config.unlocked():
        config.sampler.update(given)
    return config, workdir


if __name__ == "__main__":
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv))
