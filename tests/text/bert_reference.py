"""BERT in float64 NumPy, from arXiv:1810.04805 and arXiv:1706.03762, over the tensors of Hugging Face's BertModel."""

import numpy as np
from scipy.special import erf, softmax

EPSILON = 1e-12


def random_tensors(shapes, seed=0):
    """Weights under which attention is far from uniform and every parameter matters."""
    rng, tensors = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        value = rng.standard_normal(shape)
        if name.endswith("LayerNorm.weight"):
            value = 1 + 0.2 * value
        elif name.endswith("bias"):
            value = 0.2 * value
        elif "embeddings" not in name:
            value = 1.5 * value / np.sqrt(shape[1])
        tensors[name] = value.astype(np.float32)
    return tensors


def hidden_states(tensors, depth, num_heads, tokens, types=None):
    """The last hidden states (length, width) of one sequence of tokens, without padding."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}

    def embedded(kind, indices):
        return weights[f"embeddings.{kind}_embeddings.weight"][indices]

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    types = np.zeros(len(tokens), int) if types is None else types
    x = embedded("word", tokens) + embedded("position", np.arange(len(tokens))) + embedded("token_type", types)
    x = norm("embeddings.LayerNorm", x)
    for index in range(depth):
        layer = f"encoder.layer.{index}"
        query, key, value = (linear(f"{layer}.attention.self.{name}", x) for name in ("query", "key", "value"))
        parts = []
        for q, k, v in zip(*(np.split(each, num_heads, axis=-1) for each in (query, key, value)), strict=True):
            parts.append(softmax(q @ k.T / np.sqrt(q.shape[-1]), axis=-1) @ v)
        attended = linear(f"{layer}.attention.output.dense", np.concatenate(parts, axis=-1))
        x = norm(f"{layer}.attention.output.LayerNorm", x + attended)
        h = linear(f"{layer}.intermediate.dense", x)
        h = h * (1 + erf(h / np.sqrt(2))) / 2
        x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", h))
    return x
