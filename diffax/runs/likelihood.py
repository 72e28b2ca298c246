"""Likelihoods of data under a trained model, as config.likelihood says: the probability-flow ODE and the bound."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from diffax import build_likelihood, likelihood, schedules, sharding, streams
from diffax.data import conditioned
from diffax.data.examples import Examples
from diffax.denoisers import time_inputs
from diffax.likelihood import continuous_bound, variational_bound
from diffax.likelihood.dequantization import Bins
from diffax.likelihood.probability_flow import Dequantize, DrawProbes
from diffax.runs.model import Model

# By the ODE, by the variational bound of a chain, and by that in continuous time; and those used unless asked.
WAYS = ("ode", "bound", "continuous_bound")
DEFAULT_WAYS = WAYS[:2]
Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Likelihood:
    """How likelihoods under a model are computed. Examples are those of its data: bytes of levels, or points.

    bins: of the levels; None for points.
    dequantize: None for points.
    times, variance: of the chain of the variational bound. continuous_times: the first and last of that in continuous
      time.
    is_dequantized: whether the model was trained on uniformly dequantized data, which the bound is then computed of.
    """

    model: Model
    bins: Bins | None
    dequantize: Dequantize | None
    draw_probes: DrawProbes
    times: np.ndarray
    variance: Any
    continuous_times: tuple[float, float]
    is_dequantized: bool

    @classmethod
    def of(cls, model: Model) -> "Likelihood":
        """As config.likelihood of the model says.

        Raises:
          ValueError: a model with guidance or epsilon scaling; settings that do not fit.
        """
        config, num_levels = model.config, model.data.num_levels
        build_likelihood.check_likelihood(config)
        is_learned = model.output_shape[-1] == 2 * model.data.sample_shape[-1]
        is_dequantized = config.data.dequantize and num_levels is not None
        # With the small variance the bound of a density stays a constant above it, however many steps there are.
        fixed = "large" if num_levels is None or is_dequantized else "small"
        variance = config.likelihood.variance or ("learned" if is_learned else fixed)
        if variance == "learned" and not is_learned:
            raise ValueError(
                "likelihood.variance = 'learned' needs a model with a learned variance: use small or large"
            )
        bins = None if num_levels is None else (Bins.filling if is_dequantized else Bins.of_levels)(num_levels)
        return cls(
            model=model,
            bins=bins,
            dequantize=None if bins is None else build_likelihood.dequantize(config),
            draw_probes=build_likelihood.draw_probes(config),
            times=build_likelihood.bound_times(config, model.schedule),
            variance=variance,
            continuous_times=build_likelihood.continuous_times(model.schedule, None if is_dequantized else bins),
            is_dequantized=is_dequantized,
        )

    @property
    def unit(self) -> str:
        """bits of discrete data, nats of points; per dimension."""
        return "nats" if self.bins is None else "bits"

    def per_dim(self, nats: np.ndarray) -> np.ndarray:
        """Negative log-likelihoods in `unit` per dimension, of log-likelihoods in nats."""
        num_dims = int(np.prod(self.model.data.sample_shape))
        return -nats / num_dims if self.bins is None else np.asarray(likelihood.bits_per_dim(nats, num_dims))

    def check(self, ways: Sequence[str]) -> None:
        """Raises ValueError for a way in which this model has no likelihood.

        That is the ODE with thresholding, and the bound in continuous time of a model in discrete time.
        """
        if "ode" in ways:
            build_likelihood.check_ode(self.model.config)
        if "continuous_bound" in ways:
            build_likelihood.check_continuous(self.model.config, self.model.schedule)

    def measure(
        self,
        params: Any,
        mesh: Mesh,
        examples: Examples,
        rows: np.ndarray,
        *,
        ways: Sequence[str] = DEFAULT_WAYS,
        changed: Callable[[np.ndarray], np.ndarray] | None = None,
        seed: int = 0,
        batch_size: int = 64,
        report: Callable[[int], Any] = lambda done: None,
    ) -> Values:
        """Per example, (len(rows),): negative log-likelihoods per dimension by each way, and their errors.

        ode, ode_probe_error, num_evaluations; bound, bound_draw_error, and its parts prior, kl and decoder;
        continuous_bound, continuous_bound_draw_error, and its parts continuous_prior, reconstruction and diffusion. A
        model with conditions gives the likelihood under those of the example. The noise of an example is a function
        of (seed, its row) alone. Of several processes all have to call it.

        Args:
          rows: the numbers of the examples.
          changed: what is done to the examples first, (rows, *shape) to the same.
          report: is called with the number of examples done.

        Raises:
          FloatingPointError: a likelihood that is not finite, naming the example.
          ValueError: a way that this model has not, see `check`.
        """
        self.check(ways)
        size, parts = -(-min(batch_size, len(rows)) // mesh.size) * mesh.size, []
        split = sharding.batch_sharding(mesh)
        for first in range(0, len(rows), size):
            # The last batch is filled up, so that it compiles nothing anew.
            index = np.resize(rows[first : first + size], size)
            batch = examples.batch(index)
            batch = batch if changed is None else batch | {"x": changed(batch["x"])}
            placed = sharding.from_copies(split, self._inputs(batch) | {"index": index.astype(np.int32)})
            found: Values = {}
            for way in ways:
                values = self._compiled(way)(params, placed, seed)
                found |= {name: sharding.to_host(value) for name, value in values.items()}
            count = min(size, len(rows) - first)
            parts.append({name: value[:count] for name, value in found.items()})
            _check_finite(parts[-1], rows[first : first + count], ways)
            report(first + count)
        return self._units({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def _inputs(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Data in the network's range and the values of the model's conditions."""
        x = np.asarray(batch["x"])
        names = [name for name in self.model.network.conditions if name in batch]
        condition = {name: conditioned.first(batch[name]) for name in names}
        x = np.asarray(x, np.float32) if self.bins is None else self.bins.centres(x)
        return {"x": np.asarray(x, np.float32), "condition": condition}

    @functools.lru_cache(maxsize=4)  # noqa: B019, one to three ways, for as long as the model
    def _compiled(self, way: str) -> Callable[..., dict[str, jax.Array]]:
        return jax.jit({"ode": self._ode, "bound": self._bound, "continuous_bound": self._continuous_bound}[way])

    def _ode(self, params: Any, inputs: dict[str, Any], seed: jax.Array) -> dict[str, jax.Array]:
        tolerance, model = self.model.config.likelihood.tolerance, self.model
        if model.time_input is time_inputs.index:  # which jumps between the steps
            model = dataclasses.replace(model, time_input=time_inputs.fractional_index)
        result = likelihood.log_likelihood(
            _keys(seed, inputs["index"], 0),
            model.denoiser(params, inputs["condition"] or None),
            model.schedule,
            inputs["x"],
            bins=self.bins,
            dequantize=self.dequantize,
            draw_probes=self.draw_probes,
            rtol=tolerance,
            atol=tolerance,
        )
        names = ("ode", "ode_probe_error", "num_evaluations")
        return dict(zip(names, (-result.nats, result.standard_error, result.num_evaluations), strict=True))

    def _bound(self, params: Any, inputs: dict[str, Any], seed: jax.Array) -> dict[str, jax.Array]:
        x, offset, num_levels = self._density(inputs, seed)
        result = variational_bound.bound(
            _keys(seed, inputs["index"], 1),
            self.model.denoiser(params, inputs["condition"] or None),
            self.model.schedule,
            x,
            times=self.times,
            variance=self.variance,
            num_levels=num_levels,
            num_draws=self.model.config.likelihood.num_draws or None,
        )
        parts = {"prior": result.prior, "kl": result.kl, "decoder": result.decoder - offset}
        return {"bound": result.total - offset, "bound_draw_error": result.standard_error} | parts

    def _continuous_bound(self, params: Any, inputs: dict[str, Any], seed: jax.Array) -> dict[str, jax.Array]:
        """The mean of two estimates with half of num_draws each, whose difference gives its standard error."""
        x, offset, num_levels = self._density(inputs, seed)
        schedule = self.model.schedule

        def half(use: jax.Array) -> tuple[continuous_bound.Terms, jax.Array]:
            terms = continuous_bound.terms(
                _keys(seed, inputs["index"], use),
                self.model.denoiser(params, inputs["condition"] or None),
                schedule,
                x,
                times=self.continuous_times,
                num_times=self.model.config.likelihood.num_draws // 2,
                uniform_in="t" if isinstance(schedule, schedules.Learned) else "log_snr",
                num_levels=num_levels,
            )
            return terms, terms.total

        halves, (first, second) = jax.lax.map(half, jnp.arange(3, 5))
        mean = jax.tree.map(lambda leaf: leaf.mean(0), halves)
        return {
            "continuous_bound": mean.total - offset,
            "continuous_bound_draw_error": jnp.abs(first - second) / 2,
            "continuous_prior": mean.prior,
            "reconstruction": mean.reconstruction - offset,
            "diffusion": mean.diffusion,
        }

    def _density(self, inputs: dict[str, Any], seed: jax.Array) -> tuple[jax.Array, jax.Array, int | None]:
        """(data, log-width of their bins in nats, number of levels) of the bounds, dequantized where training was."""
        if not self.is_dequantized:
            return inputs["x"], jnp.zeros(()), self.model.data.num_levels
        assert self.bins is not None
        keys = _keys(seed, inputs["index"], 2)
        noisy = likelihood.dequantization.uniform(keys, self.model.schedule, inputs["x"], self.bins)
        return noisy.x, noisy.correction, None

    def _units(self, values: Values) -> Values:
        """The values per dimension; numbers of evaluations as they are."""
        return {
            name: value if name == "num_evaluations" else self.per_dim(-value.astype(np.float64))
            for name, value in values.items()
        }


@functools.lru_cache(maxsize=4)
def of(model: Model) -> Likelihood:
    """The Likelihood of a model, whose compiled programs are kept; see Likelihood.of."""
    return Likelihood.of(model)


def _keys(seed: jax.Array, index: jax.Array, use: int | jax.Array) -> jax.Array:
    """Keys of examples by their numbers, for one use of several."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), streams.LIKELIHOOD), use)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def _check_finite(values: Values, rows: np.ndarray, ways: Sequence[str]) -> None:
    for way in ways:
        finite = np.isfinite(values[way])
        if not finite.all():
            raise FloatingPointError(
                f"{int((~finite).sum())} of {len(rows)} likelihoods ({way}) are not finite, the first is that of "
                f"example {rows[int(np.argmin(finite))]}: the parameters diverge, or likelihood.tolerance is too small"
            )
