"""Generators of one evaluation, and the features in which losses compare what they generate with data."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import arrays, processes
from diffax.conditions import SPAN, Kind, Number
from diffax.losses._loss import Predict, Sample
from diffax.typing import Array, Keys, Schedule

Values = Float[jax.Array, "n dim"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


def generated(
    keys: Keys,
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    x_0: Sample,
    eps: Sample | None = None,
    *,
    two_times: bool = False,
) -> Sample:
    """One sample per key, of x_0's shape: the x_0 that the network predicts of pure noise, sigma(1) eps at t = 1.

    Under the flow schedule with the flow parameterization it is eps - net_out. DDIM and Euler's method from t = 1 to 0
    in one step draw the same; for a network of two times, told s = 0, the sampler flow_map.

    eps: the noise, drawn by the keys unless given.
    """
    arrays.check_keys(keys, x_0.shape[:1])
    x_0 = arrays.at_least_float32(x_0)
    _, noise_keys, network_keys = arrays.split_keys(keys, 3)
    eps = arrays.normal_like(noise_keys, x_0) if eps is None else eps.astype(x_0.dtype)
    t = jnp.ones(len(x_0), x_0.dtype)
    x_1 = arrays.expand_to(schedule.sigma(t), eps) * eps
    times = (t, jnp.zeros_like(t)) if two_times else (t,)
    net_out = predict(x_1, *times, key=network_keys)
    return parameterization.predict(schedule, net_out, x_1, t).x_0.astype(x_0.dtype)


def one_step(*, moments: bool = False) -> Callable[[_Function], _Function]:
    """A decorator of a loss that trains a generator of one evaluation by comparing a whole batch with data.

    moments: whether it takes the moments of the data and of a population of generated samples (`Representation`).
    """

    def marked(loss: _Function) -> _Function:
        loss.one_step, loss.moments = True, moments  # type: ignore[attr-defined]
        return loss

    return marked


def span_told(two_times: bool = False, **_: Any) -> Mapping[str, Kind]:
    """What such a loss tells the network, as a function of its options."""
    return {SPAN: Number()} if two_times else {}


def is_one_step(loss: Callable[..., Any]) -> bool:
    """Whether a loss trains a generator of one evaluation; such a loss is of a batch, not of each example by itself."""
    return getattr(loss, "one_step", False)


def needs_moments(loss: Callable[..., Any]) -> bool:
    """Whether a loss takes the moments of data and generated samples in its features."""
    return getattr(loss, "moments", False)


class Population(NamedTuple):
    """Moments of a moving population of generated samples: exponential moving averages over batches.

    mean, covariance: of the samples under their weights, which sum to 1. squares: the sum of the squared weights.
    num_batches: how many batches it was updated by.
    """

    mean: Float[jax.Array, " dim"]
    covariance: Float[jax.Array, "dim dim"]
    squares: Float[jax.Array, ""]
    num_batches: Int[jax.Array, ""]

    def updated(self, values: Values, decay: float) -> "Population":
        """The population with a batch in it, whose gradient passes through that batch alone.

        A batch has the weight 1 - decay, or 1 / k as the k-th batch where that is more: the population is that of all
        batches until there are 1 / (1 - decay) of them.
        """
        before: Population = jax.lax.stop_gradient(self)
        count = before.num_batches.astype(values.dtype)
        kept = jnp.minimum(decay, count / (count + 1))
        mean = values.mean(axis=0)
        centred = values - mean[None]
        covariance = jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / len(values)
        apart = before.mean - mean
        return Population(
            mean=kept * before.mean + (1 - kept) * mean,
            # That of a mixture: no difference of second moments, which would cancel.
            covariance=kept * before.covariance + (1 - kept) * covariance + kept * (1 - kept) * jnp.outer(apart, apart),
            squares=kept**2 * before.squares + (1 - kept) ** 2 / len(values),
            num_batches=before.num_batches + 1,
        )

    @property
    def unbiased_covariance(self) -> Float[jax.Array, "dim dim"]:
        """covariance / (1 - sum of squared weights): n / (n - 1) times it for n samples of equal weight."""
        return self.covariance / (1 - self.squares)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Representation:
    """Features in which a loss compares generated samples with data, with the moments of the data there.

    features: differentiable, samples (batch, *dims) in the network's range to (batch, dim), and a pytree whose leaves
      are its parameters.
    mean, root: of the features of the data, the mean and a factor of the covariance, root root^T; None for losses that
      take no moments.
    population: the moments of generated samples so far; None where none are kept, as in an evaluation.
    """

    features: Callable[[Sample], Values]
    mean: Float[Array, " dim"] | None = None
    root: Float[Array, "dim rank"] | None = None
    population: Population | None = None

    def init_population(self) -> Population | tuple[()]:
        """The population before training, of no sample; () without moments of the data."""
        if self.mean is None:
            return ()
        mean, root = jnp.zeros_like(self.mean), jnp.asarray(self.root)
        return Population(mean, jnp.zeros((len(mean), len(mean)), root.dtype), jnp.zeros((), root.dtype), jnp.int32(0))

    def with_population(self, population: Population) -> "Representation":
        """The representation with generated samples remembered."""
        return dataclasses.replace(self, population=population)
