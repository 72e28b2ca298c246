import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks
from diffax.conditions import Classes, Tokens, Vector


def _setting(draw_params, jit, **settings):
    module = networks.MLP(hidden=8, depth=2, **settings)
    x = jax.random.normal(jax.random.key(1), (4, 2))
    return jit(networks.Linen(module)), draw_params(module, (2,)), x, jnp.linspace(0.0, 1.0, 4)


def test_starts_as_the_zero_function(jit):
    module = networks.MLP(hidden=8, depth=1)
    out, _ = jit(module.init_with_output)(jax.random.key(0), jnp.ones((3, 2)), jnp.ones(3))
    np.testing.assert_array_equal(out, np.zeros((3, 2)))


@pytest.mark.parametrize("residual", [True, False])
def test_against_numpy(residual, draw_params, jit):
    apply, params, x, time = _setting(draw_params, jit, residual=residual)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    silu = lambda h: h / (1 + np.exp(-h))  # noqa: E731
    linear = lambda name, h: h @ p[name]["kernel"] + p[name].get("bias", 0.0)  # noqa: E731
    angles = np.outer(np.asarray(time, np.float64), 10_000.0 ** (-np.arange(4) / 3))
    emb = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for name in ("time_1", "time_2"):
        emb = silu(emb @ p["embedding"][name]["kernel"] + p["embedding"][name]["bias"])
    h = linear("first", np.asarray(x, np.float64))
    for layer in range(2):
        inner = silu(linear(f"layer_{layer}_1", silu(h)) + linear(f"layer_{layer}_condition", emb))
        h = (h if residual else 0.0) + linear(f"layer_{layer}_2", inner)
    np.testing.assert_allclose(apply(params, x, time), linear("last", silu(h)), rtol=1e-4, atol=1e-5)


def test_options_run_in_float32_from_door_to_door(draw_params, jit):
    apply, params, x, time = _setting(
        draw_params,
        jit,
        time_features=networks.FourierFeatures(),
        out_dim=5,
        conditions={"label": Classes(3), "context": Vector(2)},
        dtype="bfloat16",
    )
    out = apply(params, x, time, {"label": jnp.array([0, 1, 2, 3]), "context": jnp.ones((4, 2))})
    assert out.shape == (4, 5) and out.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(
        apply(params, x, time),
        apply(params, x, time, {"label": jnp.full(4, 3), "context": jnp.zeros((4, 2))}),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_sample_does_not_know_its_batch(draw_params, jit):
    apply, params, x, time = _setting(draw_params, jit, dropout=0.5)
    keys = jax.random.split(jax.random.key(2), 4)
    together = apply(params, x, time, key=keys)
    np.testing.assert_allclose(together[1], apply(params, x[1:2], time[1:2], key=keys[1:2])[0], rtol=1e-5, atol=1e-5)
    assert np.any(together != apply(params, x, time))


def test_jvp_is_the_finite_difference(x64, draw_params, jit):
    _, params, _, _ = _setting(draw_params, jit)
    apply = networks.Linen(networks.MLP(hidden=8, depth=2, dtype="float64"))
    x, time = jnp.asarray([[0.3, -1.2]]), jnp.asarray([0.4])

    def along(s):
        return apply(params, x + s, time - s)

    _, slope = jit(lambda s: jax.jvp(along, (s,), (jnp.ones_like(s),)))(jnp.asarray(0.0))
    expected = (jit(along)(jnp.asarray(1e-5)) - jit(along)(jnp.asarray(-1e-5))) / 2e-5
    np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8)


def test_token_sequences_are_refused(jit):
    module = networks.MLP(hidden=8, depth=1, conditions={"text": Tokens(4)})
    with pytest.raises(ValueError, match="the MLP attends to no tokens: give the condition 'text' as a vector"):
        networks.Linen(module).init(jax.random.key(0), (2,))


def test_labels_for_a_network_without_classes_are_refused(draw_params, jit):
    apply, params, x, time = _setting(draw_params, jit)
    with pytest.raises(ValueError, match="no condition 'label': the network takes no conditions"):
        apply(params, x, time, {"label": jnp.zeros(4, jnp.int32)})
