"""MeanFlow: the flow map by its derivative along the trajectory (arXiv:2505.13447)."""

from diffax import processes
from diffax.conditions import SPAN, Number
from diffax.losses import _flow_map
from diffax.losses._loss import PerSample, Predict, Sample, noised, tells
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule


@tells(**{SPAN: Number()})
def mean_flow(
    keys: Keys,
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    x_0: Sample,
    *,
    weighting: Weighting,
    time_density: TimeDensity,
    eps: Sample | None = None,
    t: PerSample | None = None,
    teacher: Denoiser | None = None,
    share: float = 0.25,
    adaptive: float = 1.0,
) -> PerSample:
    """The MeanFlow loss (arXiv:2505.13447, eq. 9 to 11) of a network of two times.

    With F(x_t, t, s) the flow map of the raw output and v the velocity of the pair that x_t was made of, the raw output
    is corrected by dF/dt along v. Under the flow schedule with the flow parameterization this is the published target,
    u = v - (t - s) du/dt.

    Args: as losses.denoising; and
      teacher: a denoiser whose velocity at x_t stands for that of the pair: distillation, or stable targets.
      share: of samples whose s is below t.
      adaptive: the power p of the weight (loss + 1e-3)^-p of each sample (eq. 22).
    """
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    later, s = _flow_map.second_time(keys, schedule, time_density, at.t, share)
    at = noised(keys, schedule, x_0, time_density, eps=at.eps, t=later)
    v = _flow_map.velocity_of(schedule, at, teacher)

    def at_s(x_t: Sample, t: PerSample) -> tuple[Sample, Sample]:
        net_out = predict(x_t, t, s, key=at.network_keys)
        return _flow_map.mapped(schedule, parameterization, net_out, x_t, t, s), net_out

    _, derivative, net_out = _flow_map.along(at_s, at.x_t, at.t, v)
    return _flow_map.corrected(net_out, derivative, at, schedule, parameterization, weighting, time_density, adaptive)
