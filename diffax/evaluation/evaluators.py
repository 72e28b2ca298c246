"""Evaluators: what is measured and drawn every so often during training, and afterwards.

An evaluator is a function (step, trained, data, *, options) -> iterable of (name, value). A value is a number, written
to the metrics, or a picture, uint8 (height, width, 1 or 3), written to NAME/STEP.png of the run. `trained` is a
diffax.runs.Trained, whose parameters are the averages at that step; `data` is a diffax.runs.EvaluationData with the
training and the held-out examples. config.evaluators says which run when; one of your own is named
"my_project.metrics:my_evaluator". An evaluator that raises is reported and skipped: training goes on.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import samplers
from diffax.evaluation import real
from diffax.evaluation.features.pixels import pixels
from diffax.evaluation.metrics import Comparison, FeatureSet, measure, needs_other
from diffax.reporting import images, plots

Value = float | np.ndarray
Evaluator = Callable[[int, Any, Any], Iterable[tuple[str, Value]]]
# Beyond these log-SNRs there is hardly any noise, or hardly any signal.
_LOW, _HIGH = -10.0, 10.0
# Added to the run's seed for samples that choose a checkpoint, which must not be those that report its quality.
SELECTION_SEED = 1_000_000
REFERENCE_SIZE = 10_000


def samples(step: int, trained: Any, data: Any, *, num_samples: int | None = None) -> Iterator[tuple[str, Value]]:
    """A grid of samples, or a scatter plot of generated beside real points.

    The same noise at every step, and the same conditions: each class in turn, or those of held-out examples where the
    network is told more than classes.

    num_samples: 64 images or 2,048 points unless given.
    """
    is_image = trained.num_levels is not None
    num = num_samples or (64 if is_image else 2048)
    drawn = trained.draw(num, seed=trained.config.seed, wanted=data.conditions(trained.model, num))
    if is_image:
        yield "samples", images.picture(drawn)
    else:
        yield "samples", plots.scatter_picture(drawn, data.train_examples(len(drawn)))


def held_out_loss(step: int, trained: Any, data: Any, *, num_examples: int = 512) -> Iterator[tuple[str, Value]]:
    """The training loss on held-out examples, with the same noise at every step."""
    yield "held_out_loss", float(np.mean(trained.losses(data.held_out_batch(num_examples))))


def loss_by_log_snr(
    step: int, trained: Any, data: Any, *, bins: int = 10, num_examples: int = 512
) -> Iterator[tuple[str, Value]]:
    """Held-out loss and norm of its gradient by log-SNR: where a network still has something to learn.

    Over `bins` equal bins of the log-SNRs that the schedule passes through, at most from -10 to 10; named by their
    centres, loss_log_snr_-4 and grad_norm_log_snr_-4. Losses are weighted as in training.
    """
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    batch = data.held_out_batch(num_examples)
    low, high = (float(trained.schedule.log_snr(t)) for t in (1.0, 0.0))
    for start, end in itertools.pairwise(np.linspace(max(low, _LOW), min(high, _HIGH), bins + 1)):
        size = len(batch["x"])
        log_snr = (start + (end - start) * (np.arange(size) + 0.5) / size).astype(np.float32)
        loss, grad_norm = trained.loss_and_grad_norm(batch, log_snr)
        centre = f"{(start + end) / 2:.3g}"
        yield f"loss_log_snr_{centre}", float(loss)
        yield f"grad_norm_log_snr_{centre}", float(grad_norm)


def bits_per_dim(step: int, trained: Any, data: Any, *, num_examples: int = 128) -> Iterator[tuple[str, Value]]:
    """The variational bound of held-out examples in bits per dimension, or nats_per_dim of points; and its error.

    A cheap form of --mode likelihood: config.likelihood.num_draws random steps of each example, the same examples and
    noise at every step of training. Refused where config.sampler has guidance, thresholding or epsilon scaling.
    """
    values = trained.likelihoods(data.held_out, num_examples, ways=("bound",))["bound"]
    name = "nats_per_dim" if trained.num_levels is None else "bits_per_dim"
    yield name, float(values.mean())
    yield f"{name}_standard_error", float(values.std(ddof=1) / np.sqrt(len(values)))


def sample_metrics(
    step: int,
    trained: Any,
    data: Any,
    *,
    metrics: tuple[str, ...] = ("frechet",),
    features: real.ExtractorFactory = pixels,
    num_samples: int = 2000,
    reference: str = "train",
) -> Iterator[tuple[str, Value]]:
    """Metrics of samples against real examples, under their full names: frechet/pixels@2000.

    A cheap form of --mode evaluate. Its samples have a seed of their own, so that a checkpoint chosen by these values
    is measured again on other samples there.

    reference: train or held_out, of which 10,000 random examples are taken.
    """
    training, held_out = data.train, data.held_out
    compared, other = (training, held_out) if reference == "train" else (held_out, training)
    if reference not in ("train", "held_out"):
        raise ValueError(f"reference must be train or held_out, got {reference!r}")
    extractor, labels = real.cached_extractor(features, training), trained.model.labels(num_samples)
    wanted = data.conditions(trained.model, num_samples)
    labels = labels if wanted is None else wanted.values.get(trained.model.class_condition)
    drawn = trained.draw(num_samples, seed=SELECTION_SEED + trained.config.seed, labels=labels, wanted=wanted)
    comparison = Comparison(
        generated=FeatureSet.of(extractor, drawn if trained.num_levels is None else images.to_uint8(drawn), labels),
        reference=real.cached_features(features, training, compared, REFERENCE_SIZE),
        other=real.cached_features(features, training, other, REFERENCE_SIZE) if needs_other(metrics) else None,
        reference_is_training=reference == "train",
        num_resamples=0,
    )
    for name, estimate in measure(metrics, comparison, extractor.name).items():
        yield name, estimate.value


def straightness(
    step: int, trained: Any, data: Any, *, num_samples: int = 256, num_steps: int = 50
) -> Iterator[tuple[str, Value]]:
    """How far trajectories are from straight lines, the mean of samplers.straightness over samples; 0 is straight.

    Trajectories by Euler's method from t = 1 to 0, under the conditions of `samples` and with the guidance of
    config.sampler.
    """
    labels, wanted = trained.model.labels(num_samples), data.conditions(trained.model, num_samples)
    condition = wanted.values if wanted is not None else None
    if condition is None and labels is not None:
        condition = {trained.model.class_condition: labels}
    table = samplers.euler(trained.schedule, samplers.grids.uniform(num_steps))
    keys = jax.random.split(jax.random.key(trained.config.seed), num_samples)
    denoiser = trained.denoiser(condition=condition)
    start = samplers.prior(keys, table, trained.sample_shape, noise=trained.model.noise)
    values = _straightness(denoiser, trained.schedule, table, start)
    yield "straightness", float(np.mean(values))


@jax.jit
def _straightness(denoiser: Any, schedule: Any, table: Any, x: jax.Array) -> jax.Array:
    times = samplers.grids.uniform(table.num_evaluations)
    _, saved = samplers.run(None, denoiser, table, x, save_every=1)
    return samplers.straightness(denoiser, schedule, times, jnp.concatenate([x[None], saved]))


# What config.evaluators chooses from, by their names.
EVALUATORS = (samples, held_out_loss, loss_by_log_snr, bits_per_dim, sample_metrics, straightness)
