"""The variational bound on the negative log-likelihood, term by term (DDPM, arXiv:2006.11239, eq. 5)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.processes import bounds, reverse_steps
from diffax.processes.reverse_steps import ReverseSteps, Variance
from diffax.typing import Denoiser, Keys, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]
# Streams of random numbers of a sample: steps drawn for an estimate, noise of the decoder, noise of KL divergence n.
_DRAWN_STEPS, _DECODER, _KL = 0, 1, 2


class Bound(NamedTuple):
    """The parts of the bound for each sample, (batch,) in nats; `total` is an upper bound on -log p(x_0).

    prior: L_T, the KL divergence of q(x_T | x_0) from the prior.
    kl: the sum of the KL divergences L_(t-1) of all steps but the last.
    decoder: L_0, minus the log-likelihood of x_0 under the last step.
    standard_error: of kl, where it is estimated from steps drawn at random; else 0.
    """

    prior: PerSample
    kl: PerSample
    decoder: PerSample
    standard_error: PerSample

    @property
    def total(self) -> PerSample:
        """The bound, (batch,) in nats."""
        return self.prior + self.kl + self.decoder


def bound(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Sample,
    *,
    times: npt.ArrayLike,
    variance: Variance = "small",
    num_levels: int | None = None,
    num_draws: int | None = None,
) -> Bound:
    """The variational bound on -log p(x_0) of the chain that a denoiser makes with some times, (batch,) in nats.

    Each term is evaluated at one draw of its noise, so that the bound is unbiased: its mean over keys is the bound.
    The chain is that of ancestral sampling (`samplers.ddpm`, `samplers.ancestral`), whose last step is a distribution
    here. All steps run in one lax.scan, or only num_draws of them. Jit it with the denoiser and x_0 as arguments, and
    schedule and times as constants.

    Args:
      keys: (batch,) typed keys; the noise of sample i depends on keys[i] alone.
      x_0: data in [-1, 1] for discrete data, (batch, *dims).
      times: noise levels of the chain, strictly decreasing: all that the model was trained on, any subset, or any times
        of a schedule in continuous time, such as np.arange(T, 0, -1) / T. See reverse_steps.chain.
      variance: "small", "large" or "learned", see reverse_steps. With many steps even in t, the small one keeps away
        from the likelihood of data with a density (experiments/likelihood); the large one does not.
      num_levels: of discrete data, for a discretised decoder. None for points and dequantised data: the decoder is then
        a Gaussian density, see reverse_steps.decoder_term.
      num_draws: how many steps are drawn at random, with replacement, to estimate kl without bias; None for all steps.
        A step is drawn in proportion to the share of the SNR that it loses, 1 - SNR_t / SNR_s, so that the estimate
        varies less than one of steps drawn uniformly. The prior and the decoder are always computed.

    Raises:
      ValueError: unfit times, x_0 that are not of num_levels levels, a learned variance that the denoiser does not
        have, num_draws < 2.
      TypeError: legacy keys, an x_0 of integers.
    """
    if num_draws is not None and num_draws < 2:
        raise ValueError(f"num_draws must be >= 2, for a standard error, got {num_draws}")
    x_0, steps = _checked(keys, schedule, x_0, times, num_levels)
    prior = reverse_steps.prior_term(schedule, x_0, float(np.asarray(times)[0]))
    decoder = _decoder_term(keys, denoiser, steps, x_0, variance, num_levels)
    num_kl = len(steps.t) - 1
    if num_draws is None or num_kl == 0:
        kl = _kl_terms(keys, denoiser, steps, x_0, _every(num_kl, x_0), variance).sum(0)
        return Bound(prior, kl, decoder, jnp.zeros_like(prior))

    log_share = jax.nn.log_softmax((steps.log_large - 2 * jnp.log(steps.sigma))[:-1])

    def drawn(key: jax.Array) -> jax.Array:
        return jax.random.categorical(jax.random.fold_in(key, _DRAWN_STEPS), log_share, shape=(num_draws,))

    index = jax.vmap(drawn, out_axes=1)(keys)
    kl = _kl_terms(keys, denoiser, steps, x_0, index, variance) * jnp.exp(-log_share)[index]
    return Bound(prior, kl.mean(0), decoder, kl.std(0, ddof=1) / num_draws**0.5)


def terms(
    keys: Keys,
    denoiser: Denoiser,
    schedule: Schedule,
    x_0: Sample,
    *,
    times: npt.ArrayLike,
    variance: Variance = "small",
    num_levels: int | None = None,
) -> Float[jax.Array, "steps batch"]:
    """The term of each step in nats, first to last: the KL divergences L_(t-1), then the decoder L_0.

    Arguments, noise and errors are those of `bound`, whose kl and decoder are the sums of these.
    """
    x_0, steps = _checked(keys, schedule, x_0, times, num_levels)
    kl = _kl_terms(keys, denoiser, steps, x_0, _every(len(steps.t) - 1, x_0), variance)
    return jnp.concatenate([kl, _decoder_term(keys, denoiser, steps, x_0, variance, num_levels)[None]])


def _checked(
    keys: Keys, schedule: Schedule, x_0: Sample, times: npt.ArrayLike, num_levels: int | None
) -> tuple[Sample, ReverseSteps]:
    """x_0 and the steps of the chain in its dtype."""
    arrays.check_keys(keys, x_0.shape[:1])
    x_0 = arrays.at_least_float32(x_0)
    if num_levels is not None:
        bounds.check_levels(x_0, num_levels)
    steps = reverse_steps.chain(schedule, times)

    def cast(leaf: np.ndarray) -> jax.Array:
        return jnp.asarray(leaf) if leaf.dtype == bool else jnp.asarray(leaf, x_0.dtype)

    return x_0, jax.tree.map(cast, steps)


def _every(num: int, x_0: Sample) -> jax.Array:
    """The indices of the first `num` steps, the same for all samples, (num, batch)."""
    return jnp.tile(jnp.arange(num)[:, None], len(x_0))


def _kl_terms(
    keys: Keys, denoiser: Denoiser, steps: ReverseSteps, x_0: Sample, index: jax.Array, variance: Variance
) -> Float[jax.Array, "rows batch"]:
    """The KL divergences of the steps `index` (rows, batch), each row with noise of its own."""

    def row(number: jax.Array, index: jax.Array) -> tuple[jax.Array, PerSample]:
        at, prediction = _predicted(keys, denoiser, steps.at(index), x_0, _KL + number)
        return number + 1, reverse_steps.kl_term(at, prediction, x_0, variance)

    return jax.lax.scan(row, jnp.zeros((), jnp.int32), index)[1]


def _decoder_term(
    keys: Keys, denoiser: Denoiser, steps: ReverseSteps, x_0: Sample, variance: Variance, num_levels: int | None
) -> PerSample:
    last, prediction = _predicted(keys, denoiser, steps.at(jnp.full(len(x_0), -1)), x_0, _DECODER)
    return reverse_steps.decoder_term(last, prediction, x_0, variance, num_levels)


def _predicted(
    keys: Keys, denoiser: Denoiser, steps: ReverseSteps, x_0: Sample, stream: int | jax.Array
) -> tuple[ReverseSteps, Prediction]:
    """The steps and the prediction at the start of each, one step for each sample."""
    noise_keys = jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
    x_t = steps.noisy(x_0, arrays.normal_like(noise_keys, x_0))
    return steps, jax.tree.map(lambda half: half.astype(x_0.dtype), denoiser(x_t, steps.t))
