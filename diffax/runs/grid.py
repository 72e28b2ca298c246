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
    own = model.config.sampler.name
    scales: Sequence[float | None] = guidance_scales or [None]
    numbers: Sequence[int | None] = evaluations or [None]
    for name, scale in itertools.product(samplers or [own], scales):
        sampler = None if name == own else name  # the run's own keeps its options
        for number in numbers:
            chosen = _with_sampler(model, sampler, scale, number)
            for average in names:
                yield Candidate(run, root, chosen, average)


def _with_sampler(model: Trained, sampler: str | None, scale: float | None, number: int | None) -> Trained:
    """The model under a sampler with as many steps as make at most `number` evaluations; its own steps for None."""
    if number is None:
        return model.with_sampler(sampler, guidance_scale=scale)
    refusal = None
    for num_steps in range(number, 0, -1):
        try:
            changed = model.with_sampler(sampler, num_steps=num_steps, guidance_scale=scale)
        except UserError as error:  # some samplers need several steps at least
            refusal = error
            continue
        if changed.model.sampler_table().num_evaluations <= number:
            return changed
    raise refusal or UserError(f"sampler {sampler!r} cannot do with {number} evaluations of the network")
