"""The methods compared: what each trains, from where, for how many steps.

A method is a row of METHODS: its config, the settings that it changes, what a training step of it costs and, for
methods that build on a trained one, the name of that one. All cost the same, as much as `BUDGET` training steps of 32
images of the flow, with all that they build on: the teacher's steps, the pairs and their own steps.
"""

import dataclasses
import pathlib

BUDGET = 1400
# The teacher of methods in two stages, and the pairs of noise and sample that it makes. A training step of 32 images
# costs as much as about 150 evaluations of the network on one image (measured), so that the pairs count for 200 steps.
TEACHER_STEPS, NUM_PAIRS, PAIR_EVALUATIONS = 700, 3000, 10
PAIR_STEPS = 200
MEAN_FLOW = 1.42  # the cost of a training step of improved MeanFlow
FEW, MANY = (1, 2, 4), (1, 2, 4, 5, 10, 50)


@dataclasses.dataclass(frozen=True)
class Method:
    """One trained model.

    config: of configs/. settings: changes of it, as launch.py takes them.
    cost: CPU time of a training step, in steps of the flow with 32 images (experiments/benchmarks/flow_maps).
    teacher: the name of the method whose parameters it starts from.
    pairs: whether it learns pairs of noise and sample of the teacher instead of the digits.
    evaluations: the numbers of evaluations that its samples are measured with; none for a teacher alone.
    steps: of its own, where they are not what the budget leaves.
    """

    config: str = "digits_flow"
    settings: tuple[str, ...] = ()
    cost: float = 1.0
    teacher: str | None = None
    pairs: bool = False
    evaluations: tuple[int, ...] = FEW
    steps: int | None = None

    @property
    def before(self) -> float:
        """What it builds on, in steps of the flow."""
        teacher = 0 if self.teacher is None else METHODS[self.teacher].total
        return teacher + PAIR_STEPS * self.pairs

    @property
    def num_steps(self) -> int:
        """Training steps of its own."""
        return self.steps or int((BUDGET - self.before) / self.cost)

    @property
    def total(self) -> float:
        """All that it costs, in steps of the flow."""
        return self.before + self.num_steps * self.cost


V_COSINE = (
    "--config.schedule.name=cosine",
    "--config.parameterization.name=v",
    "--config.loss.weighting.name=velocity",
    "--config.loss.time_density.name=uniform",
    "--config.sampler.name=ddim",
)
# TrigFlow, smooth in the time, from which continuous-time consistency models start.
V_SMOOTH = (*V_COSINE, "--config.model.time_input.name=unscaled")
# The exact denoiser of the training set is no target for pairs.
ON_PAIRS = ("--config.loss.stable_targets=False",)
# A generator of one evaluation that is a flow map.
TWO_TIMES = (
    "--config.loss.two_times=True",
    "--config.model.time_input.name=unscaled",
    "--config.sampler.name=flow_map",
)
METHODS = {
    "v, cosine": Method(settings=V_COSINE, evaluations=MANY),
    "1-rectified flow": Method(evaluations=MANY),
    "1-rectified flow, half the steps": Method(steps=TEACHER_STEPS, evaluations=()),
    "v, smooth time, half the steps": Method(settings=V_SMOOTH, steps=TEACHER_STEPS, evaluations=()),
    "improved MeanFlow, half the steps": Method(
        "digits_meanflow", cost=MEAN_FLOW, steps=int(TEACHER_STEPS / MEAN_FLOW), evaluations=()
    ),
    "2-rectified flow": Method(
        settings=(*ON_PAIRS, "--config.loss.time_density.name=uniform"),
        teacher="1-rectified flow, half the steps",
        pairs=True,
        evaluations=MANY,
    ),
    "distilled": Method(
        settings=(*ON_PAIRS, "--config.loss.time_density.name=fixed"),
        teacher="1-rectified flow, half the steps",
        pairs=True,
        evaluations=(1,),
    ),
    "MeanFlow": Method("digits_original_meanflow", cost=1.22),
    "improved MeanFlow": Method("digits_meanflow", cost=MEAN_FLOW),
    "alpha-Flow": Method("digits_alpha_flow", cost=1.24),
    "shortcut": Method("digits_shortcut", cost=1.41),
    "terminal velocity": Method("digits_terminal_velocity", cost=3.15),
    "consistency": Method("digits_consistency", cost=1.22),
    "continuous consistency": Method(
        "digits_continuous_consistency", cost=1.2, teacher="v, smooth time, half the steps"
    ),
    "drifting": Method("digits_drifting", cost=3.83, evaluations=(1,)),
    "FD-loss": Method(
        "digits_frechet_distance", cost=3.86, teacher="1-rectified flow, half the steps", evaluations=(1,)
    ),
    "improved MeanFlow, then FD-loss": Method(
        "digits_frechet_distance",
        settings=TWO_TIMES,
        cost=3.86,
        teacher="improved MeanFlow, half the steps",
        evaluations=(1,),
    ),
}
# The ODE solver that makes pairs: with 10 evaluations as close to the exact ODE as 20 steps of the Euler method.
PAIR_SAMPLER = ("--sampler=unipc", f"--num_steps={PAIR_EVALUATIONS}")


def folder(runs_dir: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    """The run directory of a method with one seed."""
    return runs_dir / f"few_steps-{BUDGET}" / f"{name.replace(', ', '_').replace(' ', '_')}-{seed}"
