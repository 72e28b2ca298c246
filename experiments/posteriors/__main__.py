"""Told a measurement, how near is each method to the exact posterior? python -m experiments.posteriors

On a Gaussian mixture in six dimensions, whose posterior given any linear measurement is a mixture as well: sliced
Wasserstein distances for inpainting without noise and for three noisy combinations, and for guidance towards a class.
Then inpainting, super-resolution and deblurring of held-out digits with the `digits_ddpm` network, as pictures.
Writes results.json and digits.png.
"""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays, build, denoisers, devices, samplers, schedules
from diffax.denoisers import operators
from diffax.evaluation import sliced_wasserstein
from diffax.reporting import images
from experiments import common

HERE = pathlib.Path(__file__).parent
SCHEDULE = schedules.Cosine()
DIM, NUM_MEASUREMENTS, NUM_DRAWS, STEPS = 6, 8, 1000, 100
TIMES = samplers.grids.uniform(STEPS)
LONG_DDPM = samplers.ddpm(SCHEDULE, samplers.grids.uniform(1000))
DDPM, DDIM = samplers.ddpm(SCHEDULE, TIMES), samplers.ddim(SCHEDULE, TIMES)


class Mixture:
    """A mixture as float64 arrays: weights (k,), means (k, d), covariances (k, d, d)."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        self.weights, self.means, self.covariances = weights, means, covariances

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        which = rng.choice(len(self.weights), num, p=self.weights)
        roots = np.linalg.cholesky(self.covariances + 1e-12 * np.eye(self.means.shape[1]))
        return self.means[which] + np.einsum("nij,nj->ni", roots[which], rng.normal(size=(num, self.means.shape[1])))

    def given(self, a: np.ndarray, y: np.ndarray, noise_std: float) -> "Mixture":
        """The posterior given y = a x + noise_std z."""
        gains, log_weights, means, covariances = [], [], [], []
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            spread = a @ covariance @ a.T + noise_std**2 * np.eye(len(a))
            residual = y - a @ mean
            gains.append(np.linalg.solve(spread, a @ covariance).T)
            log_weights.append(
                np.log(weight) - 0.5 * (residual @ np.linalg.solve(spread, residual) + np.linalg.slogdet(spread)[1])
            )
            means.append(mean + gains[-1] @ residual)
            covariances.append(covariance - gains[-1] @ a @ covariance)
        weights = np.exp(np.array(log_weights) - max(log_weights))
        return Mixture(weights / weights.sum(), np.array(means), np.array(covariances))

    def denoiser(self) -> denoisers.oracles.GaussianMixture:
        return denoisers.gaussian_mixture(SCHEDULE, self.weights, self.means, self.covariances)


def prior(rng: np.random.Generator) -> Mixture:
    roots = rng.normal(size=(5, DIM, DIM)) * 0.35
    covariances = roots @ roots.transpose(0, 2, 1) / 2 + 0.01 * np.eye(DIM)
    return Mixture(np.array([0.1, 0.15, 0.2, 0.25, 0.3]), rng.normal(size=(5, DIM)), covariances)


def score(draw: Callable, posteriors: list[Mixture], table: samplers.SamplerTable) -> float:
    """The root mean square over measurements of the distance to exact draws."""
    keys = jax.random.split(jax.random.key(1), len(posteriors) * NUM_DRAWS)
    drawn = np.asarray(jax.jit(draw)(table, keys)).reshape(len(posteriors), NUM_DRAWS, DIM)
    return distance(drawn, posteriors)


def distance(drawn: np.ndarray, posteriors: list[Mixture]) -> float:
    rng = np.random.default_rng(5)
    exact = [posterior.draw(rng, NUM_DRAWS) for posterior in posteriors]
    found = [sliced_wasserstein.distance(mine, true) for mine, true in zip(drawn, exact, strict=True)]
    return float(np.sqrt(np.mean(np.square(found))))


def ran(table: samplers.SamplerTable, denoiser, keys: jax.Array) -> jax.Array:
    start, noise = arrays.split_keys(keys, 2)
    return samplers.run(table, denoiser, samplers.prior(table, start, (DIM,)), noise)


def measurements(rng: np.random.Generator, mixture: Mixture, problem: str) -> dict[str, dict[str, Any]]:
    """The distance of every method, and the evaluations it took."""
    oracle = mixture.denoiser()
    a, noise_std = (np.eye(DIM)[:3], 0.0) if problem == "inpainting" else (rng.normal(size=(3, DIM)), 0.1)
    truth = mixture.draw(rng, NUM_MEASUREMENTS)
    ys = truth @ a.T + noise_std * rng.normal(size=(NUM_MEASUREMENTS, 3))
    posteriors = [mixture.given(a, y, noise_std) for y in ys]
    y = jnp.repeat(jnp.asarray(ys, jnp.float32), NUM_DRAWS, axis=0)
    data_std = float(np.sqrt(np.trace(np.cov(mixture.draw(np.random.default_rng(2), 10000).T)) / DIM))

    def measure(x: jax.Array) -> jax.Array:
        return x @ jnp.asarray(a.T, x.dtype)

    told: dict[str, tuple[Any, samplers.SamplerTable]] = {}
    if problem == "inpainting":
        known, mask = jnp.pad(y, ((0, 0), (0, DIM - 3))), jnp.arange(DIM) < 3
        replaced = denoisers.inpainted(oracle, SCHEDULE, known, mask)
        told["replacement, DDPM"] = replaced, DDPM
        for resamples in (2, 5, 10, 20):
            table = samplers.repaint(SCHEDULE, TIMES, jump_length=5, resamples=resamples)
            told[f"RePaint, every 5 steps {resamples} times"] = replaced, table
    for step_size in (0.003, 0.01, 0.03, 0.1):
        by_dps = denoisers.dps(oracle, SCHEDULE, measure, y, step_size=step_size)
        told[f"DPS, step size {step_size:g}, DDPM"] = by_dps, LONG_DDPM
    # The spread of all data, and that within a component, which is what is left of it at little noise.
    within = float(np.sqrt(np.einsum("k,kii->", mixture.weights, mixture.covariances) / DIM))
    for std in (data_std, within):
        pigdm = denoisers.pigdm(oracle, SCHEDULE, measure, y, noise_std=noise_std, data_std=std)
        told |= {f"PiGDM, data_std {std:.2f}, DDIM": (pigdm, DDIM), f"PiGDM, data_std {std:.2f}, DDPM": (pigdm, DDPM)}
    results: dict[str, dict[str, Any]] = {}
    for name, (denoiser, table) in told.items():
        results[name] = {
            "evaluations": table.num_evaluations,
            "distance": score(lambda table, keys, it=denoiser: ran(table, it, keys), posteriors, table),
        }
    rng = np.random.default_rng(6)
    exact = np.array([posterior.draw(rng, NUM_DRAWS) for posterior in posteriors])
    without = np.array([mixture.draw(rng, NUM_DRAWS) for _ in posteriors])
    results["the mixture itself, told nothing"] = {"evaluations": 0, "distance": distance(without, posteriors)}
    results["exact draws"] = {"evaluations": 0, "distance": distance(exact, posteriors)}
    return results


def guidance(rng: np.random.Generator, mixture: Mixture) -> dict[str, dict[str, Any]]:
    """Towards the last two components of the five: at scale 1 the conditional, at 2 against p(x) p(y | x)^2."""
    chosen = np.array([0, 0, 0, 1, 1]) * mixture.weights
    wanted = Mixture(chosen / chosen.sum(), mixture.means, mixture.covariances)
    wanted = Mixture(wanted.weights[3:], wanted.means[3:], wanted.covariances[3:])
    oracle, conditional = mixture.denoiser(), wanted.denoiser()

    def log_probability(x: jax.Array, t: Any) -> jax.Array:
        return conditional.log_density(x, t) - oracle.log_density(x, t) + np.log(chosen.sum())

    def sharper(num: int) -> np.ndarray:
        """Draws of p(x) p(y | x)^2: draws of p(x | y), kept with probability p(y | x)."""
        x = wanted.draw(rng, 20 * num)
        kept = rng.uniform(size=len(x)) < np.exp(np.asarray(log_probability(jnp.asarray(x, jnp.float32), 0.0), float))
        return x[kept][:num]

    num = NUM_MEASUREMENTS * NUM_DRAWS
    targets = {1.0: [wanted.draw(rng, num) for _ in range(2)], 2.0: [sharper(num) for _ in range(2)]}
    made: dict[str, tuple[Any, float]] = {
        "conditional denoiser": (conditional, 1.0),
        "classifier guidance": (denoisers.classifier_guided(oracle, SCHEDULE, log_probability), 1.0),
        "classifier-free guidance, scale 2": (denoisers.classifier_free(conditional, oracle, 2.0), 2.0),
        "the same, t in 0.2 to 0.8": (denoisers.classifier_free(conditional, oracle, 2.0, interval=(0.2, 0.8)), 2.0),
        "classifier guidance, scale 2": (denoisers.classifier_guided(oracle, SCHEDULE, log_probability, 2.0), 2.0),
        "CFG++, scale 0.5": (denoisers.cfg_plus_plus(conditional, oracle, 0.5), 1.0),
    }
    keys = jax.random.split(jax.random.key(3), num)
    results: dict[str, dict[str, Any]] = {}
    for name, (denoiser, scale) in made.items():
        drawn = np.asarray(jax.jit(lambda table, keys, it=denoiser: ran(table, it, keys))(DDIM, keys))
        results[name] = {"evaluations": STEPS, "distance": sliced_wasserstein.distance(drawn, targets[scale][0])}
    for scale, (first, second) in targets.items():
        name = f"exact draws, scale {scale:g}"
        results[name] = {"evaluations": 0, "distance": sliced_wasserstein.distance(first, second)}
    return results


def digits(arguments) -> np.ndarray:
    """Rows of ten: what was measured, and what DPS and PiGDM (and for known pixels RePaint) make of it."""
    model, params = common.model("digits_ddpm", arguments.runs, epsilon_scale=1.0)
    schedule, denoiser = build.schedule(model.config), model.denoiser(params)
    held_out = build.dataset(model.config, "test")
    truth = jnp.asarray(held_out.to_network_range(held_out.examples[:10]))
    mask = jnp.broadcast_to((jnp.arange(8) < 4)[:, None, None], (8, 8, 1))
    ddpm = samplers.ddpm(schedule, TIMES)
    keys = jax.random.split(jax.random.key(4), 10)

    def drawn(denoiser, table: samplers.SamplerTable) -> jax.Array:
        start, noise = arrays.split_keys(keys, 2)
        return jax.jit(lambda table: samplers.run(table, denoiser, samplers.prior(table, start, (8, 8, 1)), noise))(
            table
        )

    rows = [truth]
    problems = {
        "inpainting": operators.masked(mask),
        "super-resolution": operators.downsampled(2),
        "deblurring": operators.blurred(1.0),
    }
    for name, measure in problems.items():
        # Shown from -1, which is no ink, up: what lies outside a mask is measured as 0.
        y = measure(truth)
        seen = y if name != "inpainting" else jnp.where(mask, truth, -1.0)
        rows.append(jnp.repeat(jnp.repeat(seen, 8 // seen.shape[1], axis=1), 8 // seen.shape[2], axis=2))
        if name == "inpainting":
            table = samplers.repaint(schedule, TIMES, jump_length=5, resamples=5)
            rows.append(drawn(denoisers.inpainted(denoiser, schedule, truth, mask), table))
        rows.append(drawn(denoisers.dps(denoiser, schedule, measure, y, step_size=0.3), ddpm))
        rows.append(drawn(denoisers.pigdm(denoiser, schedule, measure, y, noise_std=0.02, data_std=0.54), ddpm))
    return np.concatenate([np.asarray(row) for row in rows])


def main() -> None:
    arguments = common.arguments(__doc__)
    devices.enable_compilation_cache()
    begun = time.monotonic()
    rng = np.random.default_rng(0)
    mixture = prior(rng)
    results: dict[str, Any] = {
        problem: measurements(rng, mixture, problem) for problem in ("inpainting", "three noisy combinations")
    }
    results["guidance"] = guidance(rng, mixture)
    for problem, rows in results.items():
        print(f"\n{problem:<36}{'evaluations':>14}{'sliced Wasserstein distance':>30}")
        for name, row in rows.items():
            print(f"{name:<36}{row['evaluations']:>14}{row['distance']:>30.4f}")
    results["seconds"] = round(time.monotonic() - begun, 1)
    pictures = digits(arguments)
    if not arguments.no_write:
        images.save_png(HERE / "digits.png", images.grid(pictures, 10), scale=4)
        common.write(HERE / "results.json", results)


if __name__ == "__main__":
    devices.configure()
    main()
