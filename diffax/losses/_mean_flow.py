"""MeanFlow: the flow map by its derivative along the trajectory (arXiv:2505.13447)."""

import functools

from diffax import processes
from diffax.conditions import SPAN, Number
from diffax.losses import _flow_map, _guidance
from diffax.losses._loss import PerSample, Predict, Sample, Unconditional, tells
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
    unconditional: Unconditional | None = None,
    share: float = 0.25,
    adaptive: float = 1.0,
    constant: float = 1e-3,
    omega: float = 1.0,
    kappa: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
) -> PerSample:
    """The MeanFlow loss (arXiv:2505.13447, eq. 9 to 11) of a network of two times.

    With F(x_t, t, s) the flow map of the raw output and v the velocity of the pair that x_t was made of, the raw output
    is corrected by dF/dt along v. Under the flow schedule with the flow parameterization this is the published target,
    u = v - (t - s) du/dt. The times are the larger and the smaller of two draws of the time density: the paper's are
    uniform or logit-normal with mean -0.4 (ImageNet) and -2 (CIFAR-10), and standard deviation 1 and 2.

    Args: as for losses.denoising; and
      teacher: a denoiser whose velocity at x_t stands for that of the pair: distillation, or stable targets.
      unconditional: the network without conditions, for guidance.
      share: of samples whose s is below t; the paper has 0.25 on ImageNet and 0.75 on CIFAR-10.
      adaptive: the power p of the weight (e + c)^-p of each sample, with e its squared error summed over dimensions
        (eq. 22); 1 on ImageNet, 0.75 on CIFAR-10.
      constant: c.
      omega, kappa: of the guidance that the model learns, of scale omega / (1 - kappa): v becomes
        omega v + kappa v_theta(x_t, t | condition) + (1 - omega - kappa) v_theta(x_t, t), with the model's own
        velocities. Samples without conditions are not guided.
      interval: (low, high), the range of t in which there is guidance.

    Raises:
      ValueError: guidance of a network without conditions.
    """
    at, s = _flow_map.noised_at_two_times(keys, schedule, x_0, time_density, share, eps=eps, t=t)
    v = _flow_map.velocity_of(schedule, at, teacher)
    if omega != 1 or kappa != 0:
        if unconditional is None:
            raise ValueError(_guidance.NEEDS_CONDITIONS.format(option="loss.omega and loss.kappa"))
        where = functools.partial(_guidance.where_guided, t=at.t, interval=interval, unconditional=unconditional)
        here = (schedule, parameterization, at.x_t, at.t)
        conditional = None if kappa == 0 else _flow_map.own_velocity(predict, *here)
        null = _flow_map.own_velocity(unconditional.predict, *here)
        v = _guidance.guided_velocity(v, conditional, null, where(omega, 1.0), where(kappa, 0.0))
    derivative, net_out = _flow_map.derivative_along(predict, schedule, parameterization, at, s, v)
    rules = (schedule, parameterization, weighting, time_density)
    return _flow_map.corrected(net_out, derivative, at, *rules, adaptive, constant)
