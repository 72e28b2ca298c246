"""Parts of the hyperparameters that are learned beside the network: a noise schedule, a loss weighting.

Any node of the hyperparameters' pytree that is a `Learned` is one. Its parameters stand in the training state, with
moments of Adam of their own.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax

from diffax.typing import Numeric

_ADAM = optax.scale_by_adam(b1=0.9, b2=0.99)
# By the path of the part: "weighting", "schedule/base".
Parameters = dict[str, Any]


@runtime_checkable
class Learned(Protocol):
    """A part that is learned: a dataclass and pytree with these fields and this method.

    parameters: a pytree of arrays, its parameters.
    learning_rate: of Adam for them, times the shape of the network's learning rate.
    """

    parameters: Any
    learning_rate: Numeric

    def objective(self, loss: jax.Array, log_snr: jax.Array, /) -> jax.Array:
        """What its parameters minimise in the mean: (batch,), of the losses and log-SNRs of a batch, each (batch,)."""


def parts(hyperparameters: Any) -> dict[str, Learned]:
    """The parts that are learned, by their paths."""
    nodes = jax.tree_util.tree_leaves_with_path(hyperparameters, is_leaf=_is_learned)
    return {_name(path): node for path, node in nodes if _is_learned(node)}


def initial(hyperparameters: Any) -> dict[str, Any]:
    """The `learned` entry of the training state before training: {} where nothing is learned."""
    parameters = {name: part.parameters for name, part in parts(hyperparameters).items()}
    return {"parameters": parameters, "opt_state": _ADAM.init(parameters)} if parameters else {}


def applied(hyperparameters: Any, learned: dict[str, Any]) -> Any:
    """The hyperparameters with the parameters of a training state's `learned`."""
    return _with_parameters(hyperparameters, learned["parameters"]) if learned else hyperparameters


def gradients(
    hyperparameters: Any,
    parameters: Parameters,
    losses: jax.Array,
    pull_back: Callable[[jax.Array], Parameters],
    t: jax.Array,
) -> Parameters:
    """The gradient of the mean objective of each part in its own parameters.

    Args:
      losses: of a batch, (batch,).
      pull_back: the derivative of `losses` in `parameters`: maps the gradient of a function of them, (batch,), to its
        gradient in the parameters.
      t: the times of the batch, (batch,).
    """
    current, result = _with_parameters(hyperparameters, parameters), {}
    log_snr = current.schedule.log_snr(t)
    for name, part in parts(current).items():

        def objective(own: Any, losses: jax.Array, part: Any = part) -> jax.Array:
            return dataclasses.replace(part, parameters=own).objective(losses, log_snr).mean()

        direct, by_losses = jax.grad(objective, argnums=(0, 1))(part.parameters, losses)
        result[name] = jax.tree.map(jnp.add, direct, pull_back(by_losses)[name])
    return result


def updated(hyperparameters: Any, learned: dict[str, Any], grads: Parameters, shape: jax.Array) -> dict[str, Any]:
    """`learned` after a step of Adam; shape: of the learning rate, a fraction of the peak."""
    updates, opt_state = _ADAM.update(grads, learned["opt_state"])
    rates = {name: shape * part.learning_rate for name, part in parts(hyperparameters).items()}
    parameters = {
        name: jax.tree.map(lambda p, u, rate=rates[name]: p - rate.astype(p.dtype) * u, old, updates[name])
        for name, old in learned["parameters"].items()
    }
    return {"parameters": parameters, "opt_state": opt_state}


def _with_parameters(hyperparameters: Any, parameters: Parameters) -> Any:
    def replaced(path: Any, node: Any) -> Any:
        return dataclasses.replace(node, parameters=parameters[_name(path)]) if _is_learned(node) else node

    return jax.tree_util.tree_map_with_path(replaced, hyperparameters, is_leaf=_is_learned)


def _is_learned(node: Any) -> bool:
    return isinstance(node, Learned)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
