"""What all losses share: their signature, and the noisy data that they are evaluated at."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
from jaxtyping import Bool, Float

from diffax import arrays, processes
from diffax.conditions import Kind
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@runtime_checkable
class Predict(Protocol):
    """A network as a loss calls it: the raw output at x_t. key has one PRNG key per sample, for dropout.

    The raw output of a network with a learned variance has twice the channels of x_t. Losses of flow maps also pass the
    second time, s <= t, and the values of further conditions that they tell the network, as `told`.
    """

    def __call__(
        self, x_t: Sample, t: PerSample, s: PerSample | None = None, /, *, key: Keys | None = None
    ) -> Float[jax.Array, "batch ..."]: ...


class Unconditional(NamedTuple):
    """The network without its conditions, for losses that fold classifier-free guidance into training.

    predict: the network under the null values of the conditions.
    dropped: which samples (batch,) have null conditions anyway, so that there is nothing to guide by.
    """

    predict: Predict
    dropped: Bool[jax.Array, " batch"]


@runtime_checkable
class Loss(Protocol):
    """A training loss of each sample, (batch,). Keyword arguments that a loss has beside these are its options.

    A loss with a regression target also takes `teacher`: a denoiser whose prediction at x_t is the target, instead of
    the (x_0, eps) that x_t was made of. One that can be trained on pairs takes `eps`, their noise. One that depends
    on the levels of discrete data takes `num_levels`. One that holds for other noise than normal takes `noise`, its
    law. One with a curriculum takes `progress`, how much of the training is done, from 0 to 1. One that folds guidance
    into training takes `unconditional`, an Unconditional, or None for a network without conditions. One that compares
    generated samples with data in features takes `representation`, and returns the next population of these beside the
    losses where it has one; one that does so by classes takes `labels`. One that tells the network more than the data
    do is marked by `tells`.

    keys: (batch,) typed keys: all that is random of sample i depends on keys[i] alone, and on i and the batch size
      where the time density is stratified.
    predict: (x_t, t) to the raw output; denoisers.raw_network makes one from a network.
    x_0: the data, (batch, *dims).
    weighting: the loss weighting, see losses.weighting.
    time_density: the distribution of training times, see processes.time_sampling.
    t: times (batch,) to use instead of drawing them.
    """

    def __call__(
        self,
        keys: Keys,
        predict: Predict,
        schedule: Schedule,
        parameterization: processes.Parameterization,
        x_0: Sample,
        *,
        weighting: Weighting,
        time_density: TimeDensity,
        t: PerSample | None = None,
    ) -> PerSample | tuple[PerSample, Any]: ...


def tells(
    by_options: Callable[..., Mapping[str, Kind]] | None = None, /, **kinds: Kind
) -> Callable[[_Function], _Function]:
    """A decorator of a loss: the conditions, by name, that the loss itself tells the network.

    by_options: further ones, as a function of those of the loss's options that are set.
    """

    def conditions(**options: Any) -> Mapping[str, Kind]:
        return kinds | dict({} if by_options is None else by_options(**options))

    def marked(loss: _Function) -> _Function:
        loss.conditions = conditions  # type: ignore[attr-defined]
        return loss

    return marked


def conditions_of(loss: Callable[..., Any]) -> Mapping[str, Kind]:
    """The conditions that a loss, with its options set, tells the network by itself: the span of a flow map."""
    function, options = (loss.func, loss.keywords) if isinstance(loss, functools.partial) else (loss, {})
    return function.conditions(**options) if hasattr(function, "conditions") else {}


class Noised(NamedTuple):
    """Data at training times: x_t = alpha_t x_0 + sigma_t eps, and the keys of what the network draws.

    All numbers are float32, or float64 where x_0 is.
    """

    x_0: Sample
    eps: Sample
    t: PerSample
    x_t: Sample
    network_keys: Keys


def at_times(at: Noised, schedule: Schedule, t: PerSample) -> Noised:
    """The same data and noise at other times."""
    return at._replace(t=t, x_t=processes.diffuse(schedule, at.x_0, at.eps, t))


def pair_of(at: Noised, teacher: Denoiser | None) -> tuple[Sample, Sample]:
    """The pair (x_0, eps) that x_t was made of, or a teacher's prediction of it, without its gradient.

    alpha_m x_0 + sigma_m eps is then the step from x_t to the time m: along the pair's own path, or by DDIM.
    """
    if teacher is None:
        return at.x_0, at.eps
    x_0, eps = (half.astype(at.x_t.dtype) for half in jax.lax.stop_gradient(teacher(at.x_t, at.t))[:2])
    return x_0, eps


def noised(
    keys: Keys,
    schedule: Schedule,
    x_0: Sample,
    time_density: TimeDensity,
    *,
    noise: processes.Noise = processes.NORMAL,
    eps: Sample | None = None,
    t: PerSample | None = None,
) -> Noised:
    """Draws times and noise for data, or takes those that are given.

    Raises:
      TypeError: an x_0 of integers, legacy keys (jax.random.PRNGKey).
      ValueError: keys not one per sample.
    """
    arrays.check_keys(keys, x_0.shape[:1])
    x_0 = arrays.at_least_float32(x_0)
    _, noise_keys, network_keys = arrays.split_keys(keys, 3)
    t = (draw_times(keys, schedule, time_density) if t is None else t).astype(x_0.dtype)
    eps = noise.sample(noise_keys, x_0) if eps is None else eps.astype(x_0.dtype)
    return Noised(x_0, eps, t, processes.diffuse(schedule, x_0, eps, t), network_keys)


def draw_times(keys: Keys, schedule: Schedule, time_density: TimeDensity) -> PerSample:
    """The training times (batch,) that a loss draws with the keys of a whole batch."""
    time_keys, _, _ = arrays.split_keys(keys, 3)
    return time_density.sample(time_keys, schedule)
