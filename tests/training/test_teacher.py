"""The teacher of a distillation: what it is told, its guidance, and its place in the training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, schedules, training
from diffax.conditions import Classes
from diffax.denoisers import time_inputs
from diffax.training.state import sample_keys
from tests import tiny
from tests.training.test_step import HYPERPARAMETERS

KINDS = {"label": Classes(3)}
SCHEDULE, VELOCITY = schedules.Flow(), processes.FlowVelocity()
LABELS = jnp.asarray([0, 2, 3, 1])  # 3 is none


@pytest.fixture(scope="module")
def network():
    return tiny.Network(conditions=KINDS)


@pytest.fixture
def teacher(network):
    params = network.init(jax.random.key(0), (2,))
    parts = (params, SCHEDULE, VELOCITY, 3.0)
    return training.Teacher(
        *parts, apply_fn=network, time_input=time_inputs.scaled, kinds=tuple(KINDS.items()), guided=("label",)
    )


def points():
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)


def test_a_teacher_is_guided_by_its_conditions(network, teacher):
    x, t = points(), jnp.linspace(0.2, 0.9, 4)
    options = {"time_input": time_inputs.scaled}
    told, null = (
        denoisers.from_network(network, teacher.params, SCHEDULE, VELOCITY, condition={"label": label}, **options)
        for label in (LABELS, jnp.full(4, 3))
    )
    guided = teacher.denoiser({"label": LABELS, "augmentation": jnp.zeros((4, 9))})(x, t)
    np.testing.assert_allclose(guided.x_0, null(x, t).x_0 + 3 * (told(x, t).x_0 - null(x, t).x_0), atol=1e-5)
    # An example without a label has nothing to be guided by.
    np.testing.assert_allclose(guided.eps[2], null(x, t).eps[2], atol=1e-5)
    plain = dataclasses.replace(teacher, guided=()).denoiser({"label": LABELS})(x, t)
    np.testing.assert_allclose(plain.x_0, told(x, t).x_0, atol=1e-6)
    np.testing.assert_allclose(teacher.denoiser(None)(x, t).x_0, null(x, t).x_0, atol=1e-6)


def test_the_training_loss_is_that_of_the_teachers_prediction(network, teacher):
    """Its parameters are an argument of the step, and get no gradient."""
    hyperparameters = dataclasses.replace(HYPERPARAMETERS, teacher=teacher)
    batch, keys = {"x": points(), "label": LABELS}, sample_keys(jax.random.key(1), 0, 4)
    options = {"time_input": time_inputs.scaled, "condition_names": ("label",)}
    loss = training.make_loss(network, **options)
    student = network.init(jax.random.key(5), (2,))
    t = jnp.linspace(0.2, 0.9, 4)
    found = loss(student, hyperparameters, batch, keys, t)

    eps = processes.NORMAL.sample(
        jax.vmap(lambda key: jax.random.split(jax.random.split(key)[0], 3)[1])(keys), batch["x"]
    )
    x_t = processes.diffuse(SCHEDULE, batch["x"], eps, t)
    x_0, eps_hat = teacher.denoiser({"label": LABELS})(x_t, t)[:2]
    u = network(student, x_t, time_inputs.scaled(SCHEDULE, t), {"label": LABELS})
    np.testing.assert_allclose(found, np.mean((u - (eps_hat - x_0)) ** 2, axis=1), rtol=1e-4)

    step = training.make_train_step(loss, training.adam(), lambda step: 1.0)
    state = training.init_state(0, lambda key: network.init(key, (2,)), training.adam(), hyperparameters)
    with jax.numpy_dtype_promotion("standard"):
        constants = jax.make_jaxpr(step)(state, batch).consts
        after, _ = jax.jit(step)(state, batch)
    assert not any(np.shape(constant) == (2, 2) for constant in constants)
    np.testing.assert_array_equal(after.hyperparameters.teacher.params["w"], teacher.params["w"])
