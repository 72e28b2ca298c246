"""Minibatch optimal-transport coupling: which noise of a batch goes with which of its examples (arXiv:2302.00482).

Independent pairs (x_0, eps) give a flow whose paths cross, and which is therefore curved. Pairs that minimise the total
squared distance of a batch cross less, so that fewer steps are needed. Data and noise keep their distributions, since
the noise of a batch is only permuted (Exact) or drawn from (Sinkhorn).

With classes, noise is exchanged between examples of one class only. Coupled across classes, the noise of one class
would no longer be N(0, I), which is what samples of that class start from (arXiv:2503.10636).
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from diffax import arrays
from diffax.typing import Keys, Numeric

Sample = Float[jax.Array, "batch *dims"]
Pairwise = Float[jax.Array, "batch batch"]
SamePairs = Bool[jax.Array, "batch batch"]


@runtime_checkable
class Coupling(Protocol):
    """Chooses the noise of every example of a batch.

    (keys, x_0, eps, same) -> eps, (batch, *dims). same: which pairs (example, noise) are allowed, at least (i, i);
    None for all.
    """

    def __call__(self, keys: Keys, x_0: Sample, eps: Sample, same: SamePairs | None = None, /) -> Sample: ...


@dataclasses.dataclass(frozen=True)
class Exact:
    """The exact assignment: the permutation of eps with the least total squared distance to x_0.

    Computed by scipy.optimize.linear_sum_assignment on the host of one device, in time batch^3: about 5 ms for 256
    examples. For larger batches and for several devices there is Sinkhorn.
    """

    def __call__(self, keys: Keys, x_0: Sample, eps: Sample, same: SamePairs | None = None, /) -> Sample:
        cost = squared_distances(x_0, eps)
        cost = cost if same is None else jnp.where(same, cost, jnp.inf)
        shape = jax.ShapeDtypeStruct(cost.shape[:1], jnp.int32)
        return eps[jax.pure_callback(_assignment, shape, cost, vmap_method="sequential")]


@dataclasses.dataclass(frozen=True)
class Sinkhorn:
    """Entropy-regularised optimal transport by Sinkhorn's algorithm in the log domain (arXiv:1306.0895).

    The noise of an example is drawn from its row of the transport plan. As the regularization goes to 0 the plan
    becomes that of Exact, and with a large one that of independent pairs.

    regularization: in units of the mean squared distance between examples and noise of the batch. Smaller values need
      more iterations.
    num_iterations: updates of both potentials; each costs batch^2 operations.
    """

    regularization: Numeric = 0.02
    num_iterations: int = 100

    def __post_init__(self) -> None:
        if not self.regularization > 0 or self.num_iterations < 1:
            raise ValueError(
                "sinkhorn needs regularization > 0 and num_iterations >= 1, got "
                f"{self.regularization} and {self.num_iterations}"
            )

    def __call__(self, keys: Keys, x_0: Sample, eps: Sample, same: SamePairs | None = None, /) -> Sample:
        logits = self.log_plan(x_0, eps, same)
        return eps[jax.vmap(jax.random.categorical)(keys, logits)]

    def log_plan(self, x_0: Sample, eps: Sample, same: SamePairs | None = None) -> Pairwise:
        """The logarithm of the transport plan, (examples, noise); every row sums to 1, every column nearly so."""
        cost = squared_distances(x_0, eps)
        kernel = -cost / (self.regularization * cost.mean())
        kernel = kernel if same is None else jnp.where(same, kernel, -jnp.inf)

        def update(_: int | jax.Array, row: Float[jax.Array, " batch"]) -> Float[jax.Array, " batch"]:
            column = -jax.nn.logsumexp(kernel + row[:, None], axis=0)
            return -jax.nn.logsumexp(kernel + column[None], axis=1)

        row = jax.lax.fori_loop(0, self.num_iterations - 1, update, jnp.zeros_like(cost[:, 0]))
        column = -jax.nn.logsumexp(kernel + row[:, None], axis=0)
        return jax.nn.log_softmax(kernel + column[None], axis=1)


def squared_distances(x: Sample, y: Sample) -> Pairwise:
    """|x_i - y_j|^2 of all pairs, (batch, batch), in full float32."""
    x, y = (value.reshape(len(value), -1) for value in (x, y))
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    return arrays.sum_per_sample(x**2)[:, None] + arrays.sum_per_sample(y**2)[None] - 2 * products


def _assignment(cost: jax.Array | np.ndarray) -> Int[np.ndarray, " batch"]:
    """The column of every row in the assignment of least cost."""
    from scipy import optimize  # imported here because it is slow to import and most runs do not need it

    return optimize.linear_sum_assignment(np.asarray(cost))[1].astype(np.int32)
