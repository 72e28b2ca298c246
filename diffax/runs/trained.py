"""A trained model: its network, schedule, parameterization and averaged parameters, without data or optimizer.

opening.py reads one from a run directory; training hands its own to the evaluators. Sampling, evaluation and your own
code start from it.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from diffax import arrays, build_training, processes, resolve, samplers, sharding, streams, training
from diffax import conditions as condition_kinds
from diffax.data.examples import Examples
from diffax.runs import asked, likelihood, likelihood_examples
from diffax.runs.asked import Asked
from diffax.runs.errors import UserError, for_people
from diffax.runs.model import Model
from diffax.typing import Denoiser, Keys, Network, Schedule


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A model with parameters.

    step: optimizer steps behind the parameters.
    load: the index of an average to its parameters, a plain tree.
    mesh: the devices that parameters are on and samples are drawn on.
    trained_on: the features, by their names, in which losses of its training were computed, that of a run that it
      started from included: metrics in these do not rank it.
    """

    model: Model
    step: int
    load: Callable[[int], Any]
    mesh: Mesh
    trained_on: tuple[str, ...] = ()

    @property
    def config(self) -> ConfigDict:
        """The resolved configuration of the run."""
        return self.model.config

    @property
    def network(self) -> Network:
        """The network: init(key, sample_shape) and network(params, x, time_input, condition, *, key)."""
        return self.model.network

    @property
    def schedule(self) -> Schedule:
        """The noise schedule."""
        return self.model.schedule

    @property
    def parameterization(self) -> processes.Parameterization:
        """What the network predicts."""
        return self.model.parameterization

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample, without the batch axis."""
        return self.model.data.sample_shape

    @property
    def num_classes(self) -> int | None:
        """The number of classes that samples may be asked for; None for a model without a class condition."""
        return self.model.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes by number; None where they have none."""
        return self.model.class_names

    @property
    def num_levels(self) -> int | None:
        """How many values a pixel of the data can take; None for points."""
        return self.model.data.num_levels

    @property
    def averages(self) -> tuple[str, ...]:
        """The names of the exponential moving averages, the keys of config.ema."""
        return tuple(self.config.ema)

    def params(self, average: int | str | None = None) -> Any:
        """The averaged parameters, a plain tree; average: its index or name, by default that of config.sampler.average.

        Raises:
          UserError: there is no such average.
        """
        return self.load(self.averages.index(self.average_name(average)))

    def average_name(self, average: int | str | None = None) -> str:
        """The name of an average by its index or name, by default that of config.sampler.average.

        Raises:
          UserError: there is no such average.
        """
        average = self.config.sampler.average if average is None else average
        names, average = self.averages, 0 if average is None else average
        if isinstance(average, str) and average in names:
            return average
        if str(average).isdecimal() and int(average) < len(names):
            return names[int(average)]
        listed = ", ".join(f"{index} ({name})" for index, name in enumerate(names))
        raise UserError(f"there is no average {average!r}: the averages of config.ema are {listed}")

    def denoiser(self, average: int | str | None = None, condition: Mapping[str, Any] | None = None) -> Denoiser:
        """The denoiser of an average, with the guidance and thresholding of config.sampler.

        condition: values of the conditions by name, such as {"label": int (batch,)}; None for none.
        """
        condition = None if condition is None else jax.tree.map(jnp.asarray, condition)
        return self.model.denoiser(self.params(average), condition)

    def encode(self, texts: Sequence[str], condition: str | None = None) -> Any:
        """Values of a condition of texts, by the encoder of training: floats (len(texts), size) or a TokenSequence.

        condition: its name, by default that of the only one.

        Raises:
          UserError: a model that is told no texts, or an encoder that is not there.
        """
        return asked.encoded(self.model, condition or asked.text_condition(self.model), texts)

    def with_sampler(
        self,
        sampler: str | None = None,
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        **options: Any,
    ) -> "Trained":
        """The same model under other settings of config.sampler.

        Args:
          sampler: a name, by default that of the run; its options are further keyword arguments.
          guidance_scale: of classifier-free guidance; 1 for none.

        Raises:
          UserError: a sampler, an option or a number that does not exist or does not fit.
        """
        overrides = [] if sampler is None else [("sampler.name", sampler)]
        overrides += [] if num_steps is None else [("sampler.num_steps", str(num_steps))]
        if guidance_scale is not None:
            overrides += guidance_overrides(self.config, guidance_scale)
        overrides += [(f"sampler.{name}", _text(value)) for name, value in options.items()]
        if not overrides:
            return self
        with for_people():
            model = self.model.with_config(resolve.override(self.config, overrides))
            model.check_sampler()
        return dataclasses.replace(self, model=model)

    def sample(
        self,
        keys: Keys,
        sampler: str | None = None,
        *,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        label: int | str | np.ndarray | None = None,
        conditions: Mapping[str, Any] | None = None,
        average: int | str | None = None,
        **options: Any,
    ) -> jax.Array:
        """Draws one sample per key: (batch, *sample_shape) in the network's range, [-1, 1] for images.

        Sample i depends on keys[i] and its conditions alone. Compiled once for every sampler and batch size.

        Args:
          keys: (batch,) typed keys, as jax.random.split(jax.random.key(0), batch).
          sampler, num_steps, guidance_scale, options: settings of config.sampler to change, as for `with_sampler`.
          label: a class by its name or number, or a number for every sample; by default each class in turn.
          conditions: values of the conditions by name, one row a sample, instead of a label; a condition that is
            missing is null. Texts are encoded by `encode`.

        Raises:
          UserError: settings, a label or an average that do not exist.
          TypeError: legacy keys, those of jax.random.PRNGKey.
        """
        arrays.check_keys(keys)
        trained = self.with_sampler(sampler, num_steps=num_steps, guidance_scale=guidance_scale, **options)
        values: dict[str, Any] | None
        if conditions is not None:
            values = asked.checked(self.model, conditions)
        else:
            labels = label if isinstance(label, np.ndarray | jax.Array) else trained.model.labels(len(keys), label)
            by_label = asked.of_labels(self.model, labels)
            values = None if by_label is None else by_label.values
        denoiser = trained.denoiser(average, values)
        return _draw(trained.model.sampler_table(), denoiser, self.model.noise, keys, trained.sample_shape, None)

    def draw(
        self,
        num_samples: int,
        *,
        seed: int = 0,
        labels: np.ndarray | None = None,
        wanted: Asked | None = None,
        batch_size: int | None = None,
        average: int | str | None = None,
    ) -> np.ndarray:
        """(num_samples, *sample_shape) in the network's range, batch by batch on the devices of the mesh.

        Sample i depends on (seed, i) and its conditions alone; labels are each class in turn unless they or `wanted`,
        what samples are drawn under, are given. Of several processes all have to call it, and get all samples.

        Raises:
          FloatingPointError: a sample that is not finite, naming it.
        """
        if wanted is None:
            wanted = asked.of_labels(self.model, self.model.labels(num_samples) if labels is None else labels)
        size = batch_size or num_samples
        return np.concatenate(list(self.batches(0, num_samples, size, seed=seed, wanted=wanted, average=average)))

    def batches(
        self,
        start: int,
        stop: int,
        batch_size: int,
        *,
        seed: int = 0,
        wanted: Asked | None = None,
        average: int | str | None = None,
    ) -> Iterator[np.ndarray]:
        """The samples start <= i < stop of `draw`, batch by batch; batches begin at multiples of their size.

        Sample i has the same bits whatever start and stop are, as long as the number of samples on each device is the
        same, and differs by rounding errors where it is not.

        Args:
          batch_size: on all devices together; rounded up to a multiple of their number.
          wanted: what samples are drawn under; None for nothing.

        Raises:
          FloatingPointError: a sample that is not finite, naming it.
        """
        mesh, table, params = self.mesh, self.model.sampler_table(), self.params(average)
        # Every device draws as many. The last batch is filled up, so that it compiles nothing anew.
        size = -(-min(batch_size, stop) // mesh.size) * mesh.size
        split = sharding.batch_sharding(mesh)
        for first in range(start // size * size, stop, size):
            index = np.arange(first, first + size, dtype=np.int32)
            placed, told = self._placed(split, index, wanted)
            with for_people():
                denoiser = self.model.denoiser(params, **told)
            keys = sample_keys(seed, placed)
            x = sharding.to_host(_draw(table, denoiser, self.model.noise, keys, self.sample_shape, split))
            x = x[max(start - first, 0) : stop - first]
            _check_finite(x, max(start, first), table.name)
            yield x

    def initial_noise(self, index: np.ndarray, *, seed: int = 0) -> np.ndarray:
        """The standard normal noise that the samples of these numbers start from in `draw`, (n, *sample_shape).

        The sampler multiplies it by the standard deviation of its prior, which is 1 for most schedules.
        """
        prior_keys, _ = arrays.split_keys(sample_keys(seed, np.asarray(index, np.int32)), 2)
        table = dataclasses.replace(self.model.sampler_table(), prior_std=1.0)
        return np.asarray(samplers.prior(prior_keys, table, self.sample_shape, noise=self.model.noise))

    def _placed(
        self, split: NamedSharding, index: np.ndarray, wanted: Asked | None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """(the numbers of the noise of samples, what their denoiser is told) on the devices of the mesh."""
        if wanted is None:
            return sharding.from_copies(split, index), {}
        rows = wanted.rows(index)
        values = sharding.from_copies(
            split, (wanted.noise(index), rows.values, rows.negative, [v for v, _ in rows.others])
        )
        noise, condition, negative, others = values
        scales = [scale for _, scale in rows.others]
        told = {"condition": condition, "negative": negative, "others": tuple(zip(others, scales, strict=True))}
        return noise, told

    def likelihoods(
        self,
        examples: Examples,
        rows: np.ndarray | int,
        *,
        ways: Sequence[str] = likelihood.DEFAULT_WAYS,
        average: int | str | None = None,
        **options: Any,
    ) -> dict[str, np.ndarray]:
        """Negative log-likelihoods of examples per dimension, bits of images and nats of points, by config.likelihood.

        Args:
          rows: the numbers of the examples, or how many random ones.
          ways: "ode", the probability-flow ODE; "bound", the variational bound of a chain of steps; and
            "continuous_bound", that in continuous time.
          options: of runs.likelihood.Likelihood.measure, which says what is returned.

        Raises:
          ValueError: a model with guidance, thresholding or epsilon scaling (config.sampler).
        """
        rows = likelihood_examples.random_rows(len(examples), rows) if isinstance(rows, int) else rows
        params = self.params(average)
        return likelihood.of(self.model).measure(params, self.mesh, examples, rows, ways=ways, **options)

    def losses(self, batch: training.Batch, log_snr: np.ndarray | None = None) -> np.ndarray:
        """The loss of every example of a preprocessed batch, (batch,), with the same noise at every call.

        log_snr: (batch,) noise levels; None draws times as training does.
        """
        model = self.model
        return sharding.to_host(_losses(model.loss, model.hyperparameters, self.params(), batch, self._key(), log_snr))

    def loss_and_grad_norm(self, batch: training.Batch, log_snr: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """The mean of `losses` at these log-SNRs, and the global norm of its gradient in the parameters."""
        model = self.model
        return _loss_and_grad_norm(model.loss, model.hyperparameters, self.params(), batch, self._key(), log_snr)

    def _key(self) -> jax.Array:
        return jax.random.key(self.config.seed)


def _text(value: Any) -> str:
    """A value as the command line writes it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str) else repr(value)


def guidance_overrides(config: ConfigDict, scale: float) -> list[tuple[str, str]]:
    """Overrides of config.sampler.guidance for a guidance scale; 1 is no guidance.

    Guidance is classifier-free unless another is chosen, or the network was trained to be told its scale.
    """
    if scale == 1:
        return [("sampler.guidance.name", "none")]
    chosen = config.sampler.guidance.name
    is_told = not set(build_training.told_by_loss(config)).isdisjoint(condition_kinds.GUIDANCE)
    usual = "embedded" if is_told else "classifier_free"
    name = [("sampler.guidance.name", usual)] if chosen == "none" else []
    return [*name, ("sampler.guidance.scale", repr(float(scale)))]


@jax.jit
def sample_keys(seed: jax.Array, index: jax.Array) -> jax.Array:
    """The keys of samples by their indices: a function of (seed, index) alone."""
    key = jax.random.fold_in(jax.random.key(seed), streams.SAMPLE)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, index)


def _check_finite(samples: np.ndarray, first: int, sampler: str) -> None:
    """Raises FloatingPointError unless all samples, the first of which is number `first`, are finite."""
    finite = np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)
    if not finite.all():
        raise FloatingPointError(
            f"{int((~finite).sum())} of {len(samples)} samples are not finite, the first is number "
            f"{first + int(np.argmin(finite))}: the parameters or the sampler ({sampler}) diverge"
        )


@functools.partial(jax.jit, static_argnums=(4, 5))
def _draw(
    table: Any, denoiser: Any, noise: processes.Noise, keys: jax.Array, shape: tuple[int, ...], sharding: Any
) -> jax.Array:
    """One sample per key. Table and denoiser are arguments: another step's parameters compile nothing anew."""
    prior_keys, noise_keys = arrays.split_keys(keys, 2)
    x = samplers.prior(prior_keys, table, shape, noise=noise)
    x = samplers.run(noise_keys, denoiser, table, x)
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


@functools.partial(jax.jit, static_argnums=0)
def _losses(
    loss: Any, hyperparameters: Any, params: Any, batch: Any, key: jax.Array, log_snr: jax.Array | None
) -> jax.Array:
    keys = training.evaluation_keys(key, len(batch["x"]))
    if log_snr is None:
        return loss(params, hyperparameters, batch, keys)
    t = jnp.asarray(hyperparameters.schedule.t_of_log_snr(log_snr), batch["x"].dtype)
    return loss(params, hyperparameters, batch, keys, t)


@functools.partial(jax.jit, static_argnums=0)
def _loss_and_grad_norm(
    loss: Any, hyperparameters: Any, params: Any, batch: Any, key: jax.Array, log_snr: jax.Array
) -> tuple[jax.Array, jax.Array]:
    value, grads = jax.value_and_grad(
        lambda params: _losses(loss, hyperparameters, params, batch, key, log_snr).mean()
    )(params)
    return value, optax.tree.norm(grads)
