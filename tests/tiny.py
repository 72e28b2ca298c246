"""Parts of a user's own: a network of one matrix, and others that fulfil a protocol and nothing more."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays, data
from diffax.evaluation import features


class Network:
    """out = x w + time_input b + the vector of the label, if there are classes, of points or images."""

    def __init__(self, scale: float = 0.1, conditions: dict | None = None, dtype: str = "float32"):
        self.scale, self.dtype = scale, dtype
        self.conditions = {} if conditions is None else conditions
        self.num_classes = self.conditions["label"].num if self.conditions else None

    def init(self, key, sample_shape):
        dim = sample_shape[-1]
        params = {"w": self.scale * jax.random.normal(key, (dim, dim)), "b": jnp.zeros(dim)}
        if self.num_classes is not None:
            params["labels"] = jax.random.normal(key, (self.num_classes + 1, dim))  # the last is of no label
        return params

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        product = (x.astype(self.dtype) @ params["w"].astype(self.dtype)).astype(x.dtype)
        out = product + arrays.expand_to(jnp.tanh(time_input), x) * self._of_images(params["b"], x)
        if self.num_classes is None:
            return out
        label = jnp.full(len(x), self.num_classes) if condition is None else condition["label"]
        return out + self._of_images(params["labels"][label], x)

    def _of_images(self, vectors, x):
        batch = vectors.shape[:-1] or (1,)
        return vectors.reshape(batch + (1,) * (x.ndim - 2) + vectors.shape[-1:])


class Line:
    """A schedule that is no pytree, without an inverse of its log-SNR: alpha = 1 - t / 2, sigma = t."""

    def alpha(self, t):
        return 1 - 0.5 * t

    def sigma(self, t):
        return 1.0 * t

    def log_snr(self, t):
        xp = jnp if isinstance(t, jax.Array) else np
        return 2 * (xp.log(self.alpha(t)) - xp.log(xp.maximum(self.sigma(t), 1e-12)))

    def t_of_log_snr(self, log_snr):
        raise NotImplementedError


def points(split, *, num: int = 100):
    """A data source: normal points."""
    examples = np.random.default_rng(len(split)).standard_normal((num, 2)).astype(np.float32)
    return data.dataset.Dataset(name=f"points/{split}", examples=examples)


def planes(split, *, num: int = 100, channels: int = 4):
    """A data source: uint8 images of any number of channels."""
    examples = np.random.default_rng(len(split)).integers(0, 256, (num, 6, 6, channels), np.uint8)
    return data.dataset.Dataset(name=f"planes/{split}", examples=examples, num_levels=256)


def solids(split, *, num: int = 100, dim: int = 3):
    """A data source: normal points of any dimension."""
    examples = np.random.default_rng(len(split)).standard_normal((num, dim)).astype(np.float32)
    return data.dataset.Dataset(name=f"solids/{split}", examples=examples)


def constant_weighting(log_snr, log_density, *, weight: float = 2.0):
    """A weighting as a plain function."""
    return jnp.full_like(log_snr, np.log(weight))


class Broken:
    """No network: it lacks init."""

    conditions: ClassVar[dict] = {}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        return x


class Doubled:
    """Features: twice the values of points."""

    name, preprocessing, checksum = "doubled", "times 2", "2"

    def __call__(self, examples):
        return features.Features(2 * np.asarray(examples, np.float32), None)


def doubled():
    """What makes an extractor of the user's own."""
    return Doubled()


def fails(step, trained, data):
    """An evaluator that yields a number and then raises."""
    yield "before_failing", 1.5
    raise RuntimeError("no luck")


def distance_to_origin(step, trained, data, *, num_samples: int = 4):
    """An evaluator: a number and a picture."""
    drawn = trained.draw(num_samples)
    yield "distance_to_origin", float(np.linalg.norm(drawn, axis=1).mean())
    yield "blank", np.full((4, 4, 1), 7, np.uint8)


def minus_step(step, trained, data):
    """An evaluator whose value falls at every step."""
    yield "minus_step", -float(step)
