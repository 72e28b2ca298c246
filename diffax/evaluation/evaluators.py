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

import numpy as np

from diffax.evaluation import frechet
from diffax.evaluation import sliced_wasserstein as sliced
from diffax.reporting import images, plots

Value = float | np.ndarray
Evaluator = Callable[[int, Any, Any], Iterable[tuple[str, Value]]]
# Beyond these log-SNRs there is hardly any noise, or hardly any signal.
_LOW, _HIGH = -10.0, 10.0


def samples(step: int, trained: Any, data: Any, *, num_samples: int | None = None) -> Iterator[tuple[str, Value]]:
    """A grid of samples, or a scatter plot of generated beside real points.

    num_samples: 64 images or 2,048 points unless given. The same noise at every step.
    """
    is_image = trained.num_levels is not None
    drawn = trained.draw(num_samples or (64 if is_image else 2048), seed=trained.config.seed)
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


def pixel_frechet(step: int, trained: Any, data: Any, *, num_samples: int = 2000) -> Iterator[tuple[str, Value]]:
    """The Frechet distance between samples and training examples, with their own values as features.

    For small images and points: for n numbers an example it needs a multiple of n samples.
    """
    drawn = trained.draw(num_samples, seed=trained.config.seed)
    yield "pixel_frechet", frechet.distance_between(drawn, data.train_examples(None))


def sliced_wasserstein(step: int, trained: Any, data: Any, *, num_samples: int = 4096) -> Iterator[tuple[str, Value]]:
    """The sliced Wasserstein distance between samples and as many held-out examples, on their own values."""
    real = data.held_out_examples(num_samples)
    drawn = trained.draw(len(real), seed=trained.config.seed)
    yield "sliced_wasserstein", sliced.distance(drawn.reshape(len(drawn), -1), real.reshape(len(real), -1))


# What config.evaluators chooses from, by their names.
EVALUATORS = (samples, held_out_loss, loss_by_log_snr, pixel_frechet, sliced_wasserstein)
