"""BERT against a transformer in float64 NumPy; its parameters from Hugging Face's tensors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import bert
from tests.text import bert_reference

NETWORK = bert.Bert(vocabulary_size=30, width=12, depth=2, num_heads=3, hidden_width=20, max_length=9)
TENSORS = bert_reference.random_tensors(bert.tensor_shapes(NETWORK))
TOKENS = np.random.default_rng(1).integers(0, 30, (3, 7)).astype(np.int32)
TYPES = np.random.default_rng(2).integers(0, 2, (3, 7)).astype(np.int32)
LENGTHS = (7, 4, 1)
MASK = np.arange(7)[None] < np.asarray(LENGTHS)[:, None]


@pytest.fixture(scope="module")
def apply():
    params = bert.params_from(NETWORK, TENSORS, "here")
    program = jax.jit(lambda tokens, mask, types: NETWORK.apply({"params": params}, tokens, mask, types))
    return lambda tokens, mask, types: np.asarray(program(jnp.asarray(tokens), jnp.asarray(mask), jnp.asarray(types)))


def test_hidden_states_are_those_of_a_float64_transformer(apply):
    result = apply(TOKENS, MASK, TYPES)
    for row, length in enumerate(LENGTHS):
        tokens, types = TOKENS[row, :length], TYPES[row, :length]
        expected = bert_reference.hidden_states(TENSORS, 2, 3, tokens, types)
        np.testing.assert_allclose(result[row, :length], expected, atol=2e-5)
        # Attention and token types are felt, so that the agreement means something.
        assert np.abs(bert_reference.hidden_states(TENSORS, 2, 3, tokens, 1 - types) - expected).max() > 0.1


def test_masked_positions_change_no_bit(apply):
    other_tokens, other_types = np.where(MASK, TOKENS, 29 - TOKENS), np.where(MASK, TYPES, 1 - TYPES)
    assert (other_tokens != TOKENS).any()
    np.testing.assert_array_equal(
        apply(TOKENS, MASK, TYPES)[MASK], apply(other_tokens.astype(np.int32), MASK, other_types.astype(np.int32))[MASK]
    )


def test_types_are_zero_by_default(jit):
    params = bert.params_from(NETWORK, TENSORS, "here")
    result = jit(NETWORK.apply)({"params": params}, jnp.asarray(TOKENS[:1]), jnp.ones((1, 7), bool))
    np.testing.assert_allclose(result[0], bert_reference.hidden_states(TENSORS, 2, 3, TOKENS[0]), atol=2e-5)


def test_a_head_and_a_pooler_are_ignored():
    head = {"pooler.dense.weight": np.zeros((12, 12), np.float32), "embeddings.position_ids": np.arange(9)[None]}
    prefixed = {f"bert.{name}": value for name, value in (TENSORS | head).items()}
    loaded = bert.params_from(NETWORK, prefixed | {"cls.predictions.bias": np.zeros(30, np.float32)}, "here")
    plain = bert.params_from(NETWORK, TENSORS, "here")
    jax.tree.map(np.testing.assert_array_equal, loaded, plain)
    np.testing.assert_array_equal(
        plain["layer_1"]["hidden"]["kernel"], TENSORS["encoder.layer.1.intermediate.dense.weight"].T
    )


QUERY = "encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {k: v for k, v in TENSORS.items() if k != QUERY},
            rf"^w: expected the 37 tensors .*, got no tensor '{QUERY}'$",
        ),
        ({}, r"got no tensor '.*' \(and 36 more\)$"),
        (
            TENSORS | {"encoder.layer.2.output.dense.bias": np.zeros(12)},
            r"an unexpected tensor 'encoder\.layer\.2\..*'$",
        ),
        (TENSORS | {QUERY: np.zeros((12, 13))}, rf"^w: expected '{QUERY}' of shape \(12, 12\), got \(12, 13\)$"),
        (TENSORS | {QUERY: np.full((12, 12), np.nan)}, rf"^w: '{QUERY}' has values that are not finite$"),
    ],
)
def test_wrong_tensors_are_named_in_a_line(tensors, message):
    with pytest.raises(ValueError, match=message):
        bert.params_from(NETWORK, tensors, "w")


def test_wrong_sizes_are_refused():
    tokens, mask = jnp.zeros((1, 10), jnp.int32), jnp.ones((1, 10), bool)
    with pytest.raises(ValueError, match="at most 9 tokens, got 10"):
        NETWORK.init(jax.random.key(0), tokens, mask)
    with pytest.raises(ValueError, match="num_heads must divide width, got 5 heads for width 12"):
        NETWORK.clone(num_heads=5).init(jax.random.key(0), tokens[:, :1], mask[:, :1])
