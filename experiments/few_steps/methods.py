"""The methods compared: what each trains, from where, for how many steps.

A method is a row of METHODS: its config, the settings that it changes, its number of training steps and, for methods
that build on a trained one, the name of that one. All cost the same, `BUDGET` training steps of 32 images, with all
that they build on: the teacher's steps, the pairs and their own steps.
"""

import dataclasses
import pathlib

BUDGET = 1400
# The teacher of methods in two stages, and the pairs of noise and sample that it makes. A training step of 32 images
# costs as much as about 150 evaluations of the network on one image (measured), so that the pairs count for 200 steps.
TEACHER_STEPS, NUM_PAIRS, PAIR_EVALUATIONS = 700, 3000, 10
PAIR_STEPS = 200


@dataclasses.dataclass(frozen=True)
class Method:
    """One trained model.

    num_steps: training steps of 32 images of its own.
    settings: changes of the config, as launch.py takes them.
    teacher: the name of the method whose parameters it starts from.
    pairs: whether it learns pairs of noise and sample of the teacher instead of the digits.
    evaluations: the numbers of evaluations that its samples are measured with; none for a teacher alone.
    """

    num_steps: int = BUDGET
    settings: tuple[str, ...] = ()
    config: str = "digits_flow"
    teacher: str | None = None
    pairs: bool = False
    evaluations: tuple[int, ...] = (1, 2, 5, 10, 50)

    @property
    def total_steps(self) -> int:
        """Training steps with those of the teacher and what its pairs count for."""
        before = 0 if self.teacher is None else METHODS[self.teacher].total_steps
        return self.num_steps + before + PAIR_STEPS * self.pairs


V_COSINE = (
    "--config.schedule.name=cosine",
    "--config.parameterization.name=v",
    "--config.loss.weighting.name=velocity",
    "--config.loss.time_density.name=uniform",
    "--config.sampler.name=ddim",
)
# The exact denoiser of the training set is no target for pairs.
ON_PAIRS = ("--config.loss.stable_targets=False",)
STUDENT_STEPS = BUDGET - TEACHER_STEPS - PAIR_STEPS
METHODS = {
    "v, cosine": Method(settings=V_COSINE),
    "1-rectified flow": Method(),
    "1-rectified flow, half the steps": Method(TEACHER_STEPS, evaluations=()),
    "2-rectified flow": Method(
        STUDENT_STEPS,
        (*ON_PAIRS, "--config.loss.time_density.name=uniform"),
        teacher="1-rectified flow, half the steps",
        pairs=True,
    ),
    "distilled": Method(
        STUDENT_STEPS,
        (*ON_PAIRS, "--config.loss.time_density.name=fixed"),
        teacher="1-rectified flow, half the steps",
        pairs=True,
        evaluations=(1,),
    ),
}
# The ODE solver that makes pairs: with 10 evaluations as close to the exact ODE as 20 steps of the Euler method.
PAIR_SAMPLER = ("--sampler=unipc", f"--num_steps={PAIR_EVALUATIONS}")


def folder(runs_dir: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    """The run directory of a method with one seed."""
    return runs_dir / f"few_steps-{BUDGET}" / f"{name.replace(', ', '_').replace(' ', '_')}-{seed}"
