"""What cross-attention costs in a training step: python -m experiments.benchmarks.cross_attention

Gradients of two UNets told nothing, a sentence vector of 384, and 16, 32 and 64 token vectors of 384; the variants take
turns, and each is compared with the network that is told nothing by the ratio of medians. Writes cross_attention.json.
"""

import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from diffax import devices, networks
from diffax.conditions import Tokens, TokenSequence, Vector
from experiments import common

SIZE, BATCH, ROUNDS = 384, 32, 15
NETWORKS = {
    "digits, 8x8, attention at 4x4": (
        {
            "channels": 32,
            "channel_multipliers": (1, 2),
            "num_res_blocks": 1,
            "attention_resolutions": (4,),
            "groups": 8,
        },
        (8, 8, 1),
    ),
    "cifar_small, 32x32, attention at 8x8": (
        {
            "channels": 32,
            "channel_multipliers": (1, 2, 4),
            "num_res_blocks": 1,
            "attention_resolutions": (8,),
            "groups": 8,
        },
        (32, 32, 3),
    ),
}
LENGTHS = (16, 32, 64)


def gradient(options: dict, shape: tuple[int, ...], kinds: dict, told: dict):
    """A compiled gradient of the network's squared output, with its arguments bound."""
    network = networks.Linen(networks.UNet(**options, conditions=kinds))
    params = jax.jit(network.init, static_argnums=1)(jax.random.key(0), shape)
    x, t = jnp.ones((BATCH, *shape)), jnp.ones(BATCH)
    compiled = jax.jit(jax.grad(lambda params, told: ((network(params, x, t, told) - x) ** 2).mean()))
    jax.block_until_ready(compiled(params, told))
    return lambda: jax.block_until_ready(compiled(params, told))


def variants(options: dict, shape: tuple[int, ...]) -> dict:
    rng = np.random.default_rng(0)
    made = {"nothing": gradient(options, shape, {}, {})}
    vector = {"text": jnp.asarray(rng.standard_normal((BATCH, SIZE)), jnp.float32)}
    made["vector"] = gradient(options, shape, {"text": Vector(SIZE)}, vector)
    for length in LENGTHS:
        vectors = jnp.asarray(rng.standard_normal((BATCH, length, SIZE)), jnp.float32)
        tokens = {"text": TokenSequence(vectors, jnp.ones((BATCH, length), bool))}
        made[f"{length} tokens"] = gradient(options, shape, {"text": Tokens(SIZE)}, tokens)
    return made


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    results = {}
    for name, (options, shape) in NETWORKS.items():
        made = variants(options, shape)
        seconds: dict[str, list[float]] = {variant: [] for variant in made}
        for _ in range(ROUNDS):
            for variant, run in made.items():
                begun = time.perf_counter()
                run()
                seconds[variant].append(time.perf_counter() - begun)
        medians = {variant: statistics.median(times) for variant, times in seconds.items()}
        results[name] = {variant: round(median / medians["nothing"], 3) for variant, median in medians.items()}
        results[name]["milliseconds of nothing"] = round(1e3 * medians["nothing"], 2)
        print(name, results[name], flush=True)
    if not args.no_write:
        common.write(pathlib.Path(__file__).with_suffix(".json"), results)


if __name__ == "__main__":
    devices.configure()
    main()
