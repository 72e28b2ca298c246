"""Losses of flow maps against the exact flow map of a mixture: python -m experiments.flow_maps

A small MLP learns the average velocity between any two times of a mixture of three Gaussians in the plane, by each loss
that learns all spans, with the exact velocity of the mixture as `teacher`. It is compared with the average velocity of
the trajectories, integrated to 1e-5: the root mean square of the difference, relative to that of the average velocity,
over points of the marginals and spans of every length. Then the same with the time input 999 t of networks of one time,
whose derivative in t is a thousand times as large. Writes results.json.
"""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from diffax import build_training, denoisers, losses, networks, processes, schedules
from diffax.conditions import SPAN, Number
from diffax.denoisers import flow_maps, time_inputs
from diffax.losses import weighting
from diffax.processes import time_sampling
from diffax.typing import FlowMap
from experiments import common

HERE = pathlib.Path(__file__).parent
SCHEDULE, PARAMETERIZATION = schedules.Flow(), processes.FlowVelocity()
WEIGHTS, MEANS, STDS = np.array([0.3, 0.4, 0.3]), np.array([[-1.0, 0.0], [1.0, 0.5], [0.2, -1.0]]), [0.4, 0.3, 0.35]
MIXTURE = denoisers.gaussian_mixture(SCHEDULE, WEIGHTS, MEANS, np.array(STDS))
# The options of each loss; without the adaptive weight, which is for noisy targets.
METHODS: dict[str, dict[str, Any]] = {
    "mean_flow": {"share": 0.75, "adaptive": 0.0},
    "improved_mean_flow": {"share": 0.75, "adaptive": 0.0},
    "terminal_velocity": {},
}
STEPS, BATCH, LEARNING_RATE, NUM_POINTS = 10_000, 512, 3e-3, 2048
# Of the comparison of time inputs, where training fails early.
SHORT_STEPS = 1000


class Points(NamedTuple):
    """Points of the marginals at t, a smaller time s, and the average velocity from one to the other."""

    x_t: jax.Array
    t: jax.Array
    s: jax.Array
    velocity: jax.Array


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    points, results = exact_points(), dict[str, Any]()
    for name in METHODS:
        start = time.process_time()
        flow_map = trained(name, STEPS)
        results[name] = {"relative error": relative_error(flow_map, points), "CPU seconds": time.process_time() - start}
        print(name, results[name], flush=True)
    for time_input, scale in (("unscaled", 1.0), ("scaled", 1000.0)):
        flow_map = trained("mean_flow", SHORT_STEPS, time_input=time_input, scale=scale)
        key = f"mean_flow, {SHORT_STEPS} steps, time input {time_input}"
        results[key] = {"relative error": relative_error(flow_map, points)}
        print(key, results[key], flush=True)
    if not args.no_write:
        common.write(HERE / "results.json", {"steps": STEPS, "batch": BATCH} | results)


def data(key: jax.Array, num: int) -> jax.Array:
    """Samples of the mixture, (num, 2)."""
    component_key, noise_key = jax.random.split(key)
    component = jax.random.choice(component_key, len(WEIGHTS), (num,), p=jnp.asarray(WEIGHTS, jnp.float32))
    noise = jax.random.normal(noise_key, (num, 2))
    return jnp.asarray(MEANS, jnp.float32)[component] + jnp.asarray(STDS, jnp.float32)[component][:, None] * noise


def exact_points(num: int = NUM_POINTS) -> Points:
    """Random points, with the average velocity of the trajectories through them."""
    rng = np.random.default_rng(0)
    t = rng.uniform(0.1, 1.0, num)
    t, s = jnp.asarray(t, jnp.float32), jnp.asarray(t * rng.uniform(0.0, 0.95, num), jnp.float32)
    eps = jnp.asarray(rng.standard_normal((num, 2)), jnp.float32)
    x_t = processes.diffuse(SCHEDULE, data(jax.random.key(5), num), eps, t)
    x_s = jax.jit(lambda *at: flow_maps.integrated(MIXTURE, SCHEDULE, tolerance=1e-5)(*at))(x_t, t, s)
    return Points(x_t, t, s, (x_t - x_s) / (t - s)[:, None])


def relative_error(flow_map: FlowMap, points: Points) -> float:
    """The error of the average velocity of a flow map, relative to it; root mean squares."""
    x_s = jax.jit(lambda *at: flow_map(*at))(points.x_t, points.t, points.s)
    velocity = (points.x_t - x_s) / (points.t - points.s)[:, None]
    return float(jnp.sqrt(((velocity - points.velocity) ** 2).sum() / (points.velocity**2).sum()))


def trained(
    name: str, num_steps: int, *, time_input: str = "unscaled", scale: float = 1.0, batch: int = BATCH
) -> FlowMap:
    """The flow map that an MLP learns by a loss, with Adam and cosine decay.

    time_input, scale: of the time and of the span that the network is told.
    """
    network = networks.as_network(networks.MLP(hidden=128, depth=2, conditions={SPAN: Number(scale)}))
    parts = (SCHEDULE, PARAMETERIZATION)
    of_time = {"time_input": getattr(time_inputs, time_input)}
    rules = {"weighting": weighting.Flow(), "time_density": time_sampling.Uniform(), "teacher": MIXTURE}
    loss: losses.Loss = build_training.LOSSES[name]
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, num_steps), b2=0.99)

    def value(params: Any, key: jax.Array) -> jax.Array:
        data_key, loss_key = jax.random.split(key)
        predict = denoisers.raw_network(network, params, *parts, **of_time)
        keys = jax.random.split(loss_key, batch)
        return loss(keys, predict, *parts, data(data_key, batch), **rules, **METHODS[name]).mean()

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(value)(params, key), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    @jax.jit
    def run(params: Any, key: jax.Array) -> Any:
        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, num_steps))[0][0]

    params = run(network.init(jax.random.key(0), (2,)), jax.random.key(1))
    return flow_maps.flow_map(denoisers.from_network(network, params, *parts, **of_time), SCHEDULE)


if __name__ == "__main__":
    main()
