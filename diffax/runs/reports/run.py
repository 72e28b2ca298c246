"""The report of a run: metrics, pictures, trajectory, noise levels, configuration, environment, command."""

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from diffax.reporting import metrics
from diffax.reporting.page import Page, Section
from diffax.runs import directory as run_directory
from diffax.runs import trajectory
from diffax.runs.reports import curves, evaluation, noise, pictures, settings
from diffax.runs.trained import Trained

_NUM_IMAGES, _NUM_POINTS = 8, 2000


def page(workdir: pathlib.Path, config: ConfigDict, model: Trained | None, report: Callable[[int], Any]) -> Page:
    """The report of a run's directory.

    A section that cannot be made is left out with a warning, so that one broken part does not cost the others.

    Args:
      model: whose denoising trajectory is drawn; None for a run without a checkpoint.
      report: is called with the number of sections done so far.
    """
    lines = metrics.read(workdir) if (workdir / metrics.FILENAME).exists() else []
    makers: list[tuple[str, Callable[[], Section | None]]] = [
        ("metrics", lambda: curves.section(lines)),
        ("samples over training", lambda: pictures.over_training(workdir)),
        ("denoising trajectory", lambda: None if model is None else _denoising(model)),
        ("evaluations", lambda: _evaluations(workdir)),
        ("noise schedule", lambda: noise.section(config)),
        ("configuration", lambda: settings.configuration(config)),
        ("environment", lambda: settings.environment(workdir)),
        ("command", lambda: settings.command(workdir)),
    ]
    sections = []
    for done, (name, make) in enumerate(makers, start=1):
        try:
            section = make()
        except Exception as error:
            message = " ".join(str(error).split())
            warnings.warn(f"report: {name} is left out: {type(error).__name__}: {message}", stacklevel=2)
            section = None
        sections += [section] if section is not None else []
        report(done)
    return Page(workdir.resolve().name, sections, _facts(workdir, config, lines, model))


NUM_SECTIONS = 8


def _facts(
    workdir: pathlib.Path, config: ConfigDict, lines: list[dict[str, Any]], model: Trained | None
) -> list[tuple[str, Any]]:
    step = max([line["step"] for line in lines] + ([] if model is None else [model.step]), default=0)
    features = run_directory.trained_on(workdir, config)
    trained_on = (
        [("trained on features", f"{', '.join(features)}: metrics in these do not rank it")] if features else []
    )
    return [
        *trained_on,
        ("step", f"{step:,} of {config.train.num_steps:,}"),
        ("data", config.data.name),
        ("network", config.model.name),
        ("prediction", config.parameterization.name),
        ("schedule", config.schedule.name),
        ("sampler", f"{config.sampler.name}, {config.sampler.num_steps} steps"),
    ]


def _denoising(model: Trained) -> Section:
    is_image = model.num_levels is not None
    drawn = trajectory.draw(model, _NUM_IMAGES if is_image else _NUM_POINTS, seed=model.config.seed)
    return pictures.denoising(drawn, sampler=model.config.sampler.name, is_image=is_image)


def _evaluations(workdir: pathlib.Path) -> Section | None:
    """The measurements of --mode evaluate in this run's directory, all in one table."""
    found = []
    for path in sorted((workdir / "evaluations").glob(f"*/{evaluation.FILENAME}")):
        found += evaluation.measurements(settings.read_object(path))
    return evaluation.table(found, "Evaluations") if found else None
