"""Grids of what is evaluated: trained models under samplers, numbers of evaluations, guidance scales and averages."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from diffax.runs.errors import UserError
from diffax.runs.trained import Trained


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A trained model with the sampler and the average that samples are drawn by.

    run: the name of its directory, for tables. root: where its sample sets are.
    """

    run: str
    root: pathlib.Path
    model: Trained
    average: str

    def subject(self) -> dict[str, Any]:
        """What tells the candidate from others, as values of JSON."""
        sampler = self.model.config.sampler
        return {
            "run": self.run,
            "step": self.model.step,
            "sampler": sampler.name,
            "num_evaluations": self.model.model.sampler_table().num_evaluations,
            "guidance": float(sampler.guidance.get("scale", 1.0)),
            "average": self.average,
        }


def candidates(
    run: str,
    root: pathlib.Path,
    model: Trained,
    *,
    samplers: Sequence[str] = (),
    evaluations: Sequence[int] = (),
    guidance_scales: Sequence[float] = (),
    averages: Sequence[str] = (),
) -> Iterator[Candidate]:
    """The candidates of one run: every combination, with the run's own setting where a list is empty.

    Raises:
      UserError: a sampler, a number or an average that does not exist or does not fit.
    """
    names = [model.average_name(average) for average in averages] or [model.average_name()]
    own = model.config.sampler
    scales: Sequence[float | None] = guidance_scales or [None]
    numbers: Sequence[int | None] = evaluations or [None]
    for sampler, scale in itertools.product(samplers or [own.name], scales):
        chosen = model.with_sampler(None if sampler == own.name else sampler, guidance_scale=scale)
        for number, average in itertools.product(numbers, names):
            yield Candidate(run, root, chosen if number is None else with_evaluations(chosen, number), average)


def with_evaluations(model: Trained, number: int) -> Trained:
    """The model under its sampler with as many steps as make at most `number` evaluations of the network.

    Raises:
      UserError: a sampler that needs more.
    """
    for num_steps in range(number, 0, -1):
        try:
            changed = model.with_sampler(num_steps=num_steps)
        except UserError:
            continue  # some samplers need two steps at least
        if changed.model.sampler_table().num_evaluations <= number:
            return changed
    raise UserError(f"sampler {model.config.sampler.name!r} cannot do with {number} evaluations of the network")
