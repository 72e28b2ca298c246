"""Text encoders that are sentence-transformers models of BERT's architecture: tokenizer, network and pooling.

Sentence-BERT (arXiv:1908.10084): a text's vector is the mean (or maximum) of its tokens' last hidden states, or that of
its first token.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from diffax.networks import bert
from diffax.text import model_folder

INSTALL = "pip install 'diffax[text]'"
# Texts are padded to powers of two, so that few programs compile, and a batch has about so many tokens.
_SHORTEST = 16
_TOKENS_PER_BATCH = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Transformer:
    """A function from texts to pooled vectors or, in the form "tokens", to the hidden states of their tokens.

    The result of a text does not depend on the other texts: it is computed in a batch of a shape that its own length
    decides.

    tokenize: from a text to the indices of its tokens, [CLS] and [SEP] included.
    max_length: the most tokens that a text has.
    """

    network: bert.Bert
    params: Any = dataclasses.field(repr=False)
    tokenize: Callable[[str], list[int]] = dataclasses.field(repr=False)
    form: str
    pooling: str
    normalise: bool
    max_length: int
    version: str

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        """One float32 array per text, (width,) or (length, width). Raises ValueError for a text without tokens."""
        tokens = [np.asarray(self.tokenize(text), np.int32) for text in texts]
        for text, indices in zip(texts, tokens, strict=True):
            if not len(indices):
                raise ValueError(f"the tokenizer finds no token in the text {text!r}")
        results: dict[int, np.ndarray] = {}
        for length, group in self._groups(tokens).items():
            rows = max(1, _TOKENS_PER_BATCH // length)
            for start in range(0, len(group), rows):
                batch = group[start : start + rows]
                outputs = self._encode([tokens[index] for index in batch], rows, length)
                for index, output in zip(batch, outputs, strict=False):  # rows beyond the batch are padding
                    results[index] = (output[: len(tokens[index])] if self.form == "tokens" else output).copy()
        return [results[index] for index in range(len(texts))]

    def _groups(self, tokens: list[np.ndarray]) -> dict[int, list[int]]:
        """The indices of the texts that are padded to each length."""
        groups: dict[int, list[int]] = {}
        for index, indices in enumerate(tokens):
            padded = min(max(_SHORTEST, 1 << (len(indices) - 1).bit_length()), self.max_length)
            groups.setdefault(padded, []).append(index)
        return groups

    def _encode(self, batch: list[np.ndarray], rows: int, length: int) -> np.ndarray:
        padded, mask = np.zeros((rows, length), np.int32), np.zeros((rows, length), bool)
        for row, indices in enumerate(batch):
            padded[row, : len(indices)], mask[row, : len(indices)] = indices, True
        mask[len(batch) :, 0] = True  # an empty text has no mean
        return jax.device_get(self._program(self._device_params, padded, mask))

    @functools.cached_property
    def _device_params(self) -> Any:
        return jax.device_put(self.params)

    @functools.cached_property
    def _program(self) -> Callable[[Any, np.ndarray, np.ndarray], Array]:
        """The compiled network, at `highest` precision: an encoder's results are the same on every device."""

        def run(params: Any, tokens: Int[Array, "batch length"], mask: Bool[Array, "batch length"]) -> Array:
            with jax.default_matmul_precision("highest"):
                hidden: Any = self.network.apply({"params": params}, tokens, mask)
            return hidden if self.form == "tokens" else pooled(hidden, mask, self.pooling, normalise=self.normalise)

        return jax.jit(run)


def pooled(
    hidden: Float[Array, "batch length width"], mask: Bool[Array, "batch length"], pooling: str, *, normalise: bool
) -> Float[Array, "batch width"]:
    """One vector per text from the hidden states of the tokens where `mask` is True.

    pooling: "mean", "max" or "cls", which is the first token. normalise: divides by the Euclidean norm.
    """
    at_tokens = mask[:, :, None]
    match pooling:
        case "mean":
            vectors = jnp.where(at_tokens, hidden, 0).sum(axis=1) / at_tokens.sum(axis=1).astype(hidden.dtype)
        case "max":
            vectors = jnp.where(at_tokens, hidden, -jnp.inf).max(axis=1)
        case _:
            vectors = hidden[:, 0]
    if not normalise:
        return vectors
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def load(folder: pathlib.Path, *, form: str) -> Transformer:
    """The encoder in a folder; form: "vector" or "tokens".

    Raises:
      ValueError: safetensors or tokenizers is not installed, or a file is missing, damaged or of another architecture.
    """
    settings = model_folder.read(folder)
    network = bert.Bert(**settings.sizes)
    return Transformer(
        network=network,
        params=bert.params_from(network, _tensors(settings.weights), str(settings.weights)),
        tokenize=_tokenizer(settings),
        form=form,
        pooling=settings.pooling,
        normalise=settings.normalise,
        max_length=settings.max_length,
        version=settings.version,
    )


def _tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file by name; half precision becomes float32."""
    try:
        import safetensors
        import safetensors.numpy
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: reading it needs the package safetensors: {INSTALL}") from error
    try:
        tensors = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{path}: truncated or damaged, or no safetensors file ({message})") from error
    return {
        name: value.astype(np.float32) if value.dtype.name in ("float16", "bfloat16") else value
        for name, value in tensors.items()
    }


def _tokenizer(settings: model_folder.ModelFolder) -> Callable[[str], list[int]]:
    """The folder's tokenizer as a function from a text to the indices of its tokens."""
    path = settings.tokenizer
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: reading it needs the package tokenizers: {INSTALL}") from error
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises no other class
        raise ValueError(f"{path}: damaged, or no tokenizer ({str(error).splitlines()[0]})") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_length)
    highest, size = max(tokenizer.get_vocab(True).values(), default=0), settings.sizes["vocabulary_size"]
    if highest >= size:
        raise ValueError(f"{path}: the network has {size} tokens, but the tokenizer's indices reach {highest}")

    def tokenize(text: str) -> list[int]:
        # One text at a time: a batch starts threads, and the package then warns at every later fork.
        return tokenizer.encode(text.strip().lower() if settings.lower_case else text.strip()).ids

    return tokenize
