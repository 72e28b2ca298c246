"""Inverse-problem solvers and guidance against exact posteriors: python -m experiments.posteriors

On a Gaussian mixture in six dimensions, whose posterior given any linear measurement is a Gaussian mixture as well:
sliced Wasserstein distances for inpainting without measurement noise, for three noisy linear measurements, and for
guidance towards a class. Then inpainting, super-resolution and deblurring of held-out digits with the network of
configs/digits.py, as pictures. Writes results.json and digits.png.
"""

import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays, data, denoisers, devices, samplers, schedules
from diffax.denoisers import operators
from diffax.evaluation import sliced_wasserstein
from diffax.reporting import images
from diffax.typing import Denoiser
from experiments import common

HERE = pathlib.Path(__file__).parent
SCHEDULE = schedules.Cosine()
DIM, NUM_MEASUREMENTS, NUM_DRAWS, STEPS = 6, 8, 1000, 100
TIMES = samplers.grids.uniform(STEPS)
LONG_DDPM = samplers.ddpm(SCHEDULE, samplers.grids.uniform(1000))
DDPM, DDIM = samplers.ddpm(SCHEDULE, TIMES), samplers.ddim(SCHEDULE, TIMES)


class Mixture:
    """A Gaussian mixture in float64: weights (k,), means (k, d), covariances (k, d, d)."""

    def __init__(self, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray):
        self.weights, self.means, self.covariances = weights, means, covariances

    def draw(self, rng: np.random.Generator, num: int) -> np.ndarray:
        """Exact samples, (num, d)."""
        which = rng.choice(len(self.weights), num, p=self.weights)
        roots = np.linalg.cholesky(self.covariances + 1e-12 * np.eye(self.means.shape[1]))
        return self.means[which] + np.einsum("nij,nj->ni", roots[which], rng.normal(size=(num, self.means.shape[1])))

    def posterior(self, a: np.ndarray, y: np.ndarray, noise_std: float) -> "Mixture":
        """The posterior given the measurement y = a x + noise_std z."""
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

    def denoiser(self) -> denoisers.GaussianMixture:
        """The exact denoiser."""
        return denoisers.gaussian_mixture(SCHEDULE, self.weights, self.means, self.covariances)


def prior(rng: np.random.Generator) -> Mixture:
    """A mixture of five Gaussians with full covariances."""
    roots = rng.normal(size=(5, DIM, DIM)) * 0.35
    covariances = roots @ roots.transpose(0, 2, 1) / 2 + 0.01 * np.eye(DIM)
    return Mixture(np.array([0.1, 0.15, 0.2, 0.25, 0.3]), rng.normal(size=(5, DIM)), covariances)


def sampled_distance(denoiser: Denoiser, posteriors: list[Mixture], table: samplers.SamplerTable) -> float:
    """The `distance` of samples of a denoiser, NUM_DRAWS for each measurement in turn."""
    keys = jax.random.split(jax.random.key(1), len(posteriors) * NUM_DRAWS)
    drawn = np.asarray(jax.jit(lambda table, keys: sample(keys, denoiser, table, (DIM,)))(table, keys))
    return distance(drawn.reshape(len(posteriors), NUM_DRAWS, DIM), posteriors)


def distance(drawn: np.ndarray, posteriors: list[Mixture]) -> float:
    """The sliced Wasserstein distance to exact draws, as root mean square over the measurements."""
    rng = np.random.default_rng(5)
    exact = [posterior.draw(rng, NUM_DRAWS) for posterior in posteriors]
    distances = [sliced_wasserstein.distance(a, b) for a, b in zip(drawn, exact, strict=True)]
    return float(np.sqrt(np.mean(np.square(distances))))


def sample(keys: jax.Array, denoiser: Denoiser, table: samplers.SamplerTable, shape: tuple[int, ...]) -> jax.Array:
    """One sample per key, (batch, *shape)."""
    prior_keys, noise_keys = arrays.split_keys(keys, 2)
    return samplers.run(noise_keys, denoiser, table, samplers.prior(prior_keys, table, shape))


def measurements(rng: np.random.Generator, mixture: Mixture, problem: str) -> dict[str, dict[str, Any]]:
    """The distance and the number of evaluations of every method for an inverse problem."""
    oracle = mixture.denoiser()
    a, noise_std = (np.eye(DIM)[:3], 0.0) if problem == "inpainting" else (rng.normal(size=(3, DIM)), 0.1)
    truth = mixture.draw(rng, NUM_MEASUREMENTS)
    ys = truth @ a.T + noise_std * rng.normal(size=(NUM_MEASUREMENTS, 3))
    posteriors = [mixture.posterior(a, y, noise_std) for y in ys]
    y = jnp.repeat(jnp.asarray(ys, jnp.float32), NUM_DRAWS, axis=0)
    data_std = float(np.sqrt(np.trace(np.cov(mixture.draw(np.random.default_rng(2), 10000).T)) / DIM))

    def measure(x: jax.Array) -> jax.Array:
        return x @ jnp.asarray(a.T, x.dtype)

    methods: dict[str, tuple[Denoiser, samplers.SamplerTable]] = {}
    if problem == "inpainting":
        known, mask = jnp.pad(y, ((0, 0), (0, DIM - 3))), jnp.arange(DIM) < 3
        replaced = denoisers.inpainted(oracle, SCHEDULE, known, mask)
        methods["replacement, DDPM"] = replaced, DDPM
        for resamples in (2, 5, 10, 20):
            table = samplers.repaint(SCHEDULE, TIMES, jump_length=5, resamples=resamples)
            methods[f"RePaint, every 5 steps {resamples} times"] = replaced, table
    for step_size in (0.003, 0.01, 0.03, 0.1):
        dps = denoisers.dps(oracle, SCHEDULE, measure, y, step_size=step_size)
        methods[f"DPS, step size {step_size:g}, DDPM"] = dps, LONG_DDPM
    # The standard deviation of all data, and that within a component, which is what remains at low noise.
    within = float(np.sqrt(np.einsum("k,kii->", mixture.weights, mixture.covariances) / DIM))
    for std in (data_std, within):
        pigdm = denoisers.pigdm(oracle, SCHEDULE, measure, y, noise_std=noise_std, data_std=std)
        methods |= {
            f"PiGDM, data_std {std:.2f}, {name}": (pigdm, table) for name, table in (("DDIM", DDIM), ("DDPM", DDPM))
        }
    results: dict[str, dict[str, Any]] = {}
    for name, (denoiser, table) in methods.items():
        found = sampled_distance(denoiser, posteriors, table)
        results[name] = {"evaluations": table.num_evaluations, "distance": found}
    rng = np.random.default_rng(6)
    exact = np.array([posterior.draw(rng, NUM_DRAWS) for posterior in posteriors])
    unconditional = np.array([mixture.draw(rng, NUM_DRAWS) for _ in posteriors])
    results["draws of the prior"] = {"evaluations": 0, "distance": distance(unconditional, posteriors)}
    results["exact draws"] = {"evaluations": 0, "distance": distance(exact, posteriors)}
    return results


def guidance(rng: np.random.Generator, mixture: Mixture) -> dict[str, dict[str, Any]]:
    """Distances of guidance towards a class y, the last two of the five components.

    At scale 1 to draws of p(x | y), at scale 2 to draws of p(x) p(y | x)^2.
    """
    probability = mixture.weights[3:].sum()
    target = Mixture(mixture.weights[3:] / probability, mixture.means[3:], mixture.covariances[3:])
    oracle, conditional = mixture.denoiser(), target.denoiser()

    def log_probability(x: jax.Array, t: Any) -> jax.Array:
        return conditional.log_density(x, t) - oracle.log_density(x, t) + np.log(probability)

    def draw_sharpened(num: int) -> np.ndarray:
        """Draws of p(x) p(y | x)^2 by rejection sampling: draws of p(x | y), kept with probability p(y | x)."""
        x = target.draw(rng, 20 * num)
        kept = rng.uniform(size=len(x)) < np.exp(np.asarray(log_probability(jnp.asarray(x, jnp.float32), 0.0), float))
        return x[kept][:num]

    num = NUM_MEASUREMENTS * NUM_DRAWS
    exact = {1.0: [target.draw(rng, num) for _ in range(2)], 2.0: [draw_sharpened(num) for _ in range(2)]}
    methods: dict[str, tuple[Denoiser, float]] = {
        "conditional denoiser": (conditional, 1.0),
        "classifier guidance": (denoisers.classifier_guided(oracle, SCHEDULE, log_probability), 1.0),
        "classifier-free guidance, scale 2": (denoisers.classifier_free(conditional, oracle, 2.0), 2.0),
        "the same, t in 0.2 to 0.8": (denoisers.classifier_free(conditional, oracle, 2.0, interval=(0.2, 0.8)), 2.0),
        "classifier guidance, scale 2": (denoisers.classifier_guided(oracle, SCHEDULE, log_probability, 2.0), 2.0),
        "CFG++, scale 0.5": (denoisers.cfg_plus_plus(conditional, oracle, 0.5), 1.0),
    }
    keys = jax.random.split(jax.random.key(3), num)
    results: dict[str, dict[str, Any]] = {}
    for name, (denoiser, scale) in methods.items():
        drawn = jax.jit(lambda table, keys, denoiser=denoiser: sample(keys, denoiser, table, (DIM,)))(DDIM, keys)
        found = sliced_wasserstein.distance(np.asarray(drawn), exact[scale][0])
        results[name] = {"evaluations": STEPS, "distance": found}
    for scale, (first, second) in exact.items():
        name = f"exact draws, scale {scale:g}"
        results[name] = {"evaluations": 0, "distance": sliced_wasserstein.distance(first, second)}
    return results


def digits(runs_dir: pathlib.Path) -> np.ndarray:
    """Rows of ten digits: each measurement and the samples of DPS and PiGDM (for inpainting also RePaint) given it."""
    trained = common.trained_model("digits", runs_dir, epsilon_scale=1.0)
    schedule, denoiser = trained.schedule, trained.denoiser()
    held_out = data.digits.load("test")
    truth = jnp.asarray(held_out.to_network_range(held_out.examples[:10]))
    mask = jnp.broadcast_to((jnp.arange(8) < 4)[:, None, None], (8, 8, 1))
    ddpm = samplers.ddpm(schedule, TIMES)
    keys = jax.random.split(jax.random.key(4), 10)

    def draw(denoiser: Denoiser, table: samplers.SamplerTable) -> jax.Array:
        return jax.jit(lambda table: sample(keys, denoiser, table, trained.sample_shape))(table)

    rows = [truth]
    problems = {
        "inpainting": operators.masked(mask),
        "super-resolution": operators.downsampled(2),
        "deblurring": operators.blurred(1.0),
    }
    for name, measure in problems.items():
        y = measure(truth)
        # A masked measurement is 0 at the unknown pixels, which are shown as background, -1.
        shown = y if name != "inpainting" else jnp.where(mask, truth, -1.0)
        rows.append(jnp.repeat(jnp.repeat(shown, 8 // shown.shape[1], axis=1), 8 // shown.shape[2], axis=2))
        if name == "inpainting":
            table = samplers.repaint(schedule, TIMES, jump_length=5, resamples=5)
            rows.append(draw(denoisers.inpainted(denoiser, schedule, truth, mask), table))
        rows.append(draw(denoisers.dps(denoiser, schedule, measure, y, step_size=0.3), ddpm))
        rows.append(draw(denoisers.pigdm(denoiser, schedule, measure, y, noise_std=0.02, data_std=0.54), ddpm))
    return np.concatenate([np.asarray(row) for row in rows])


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun = time.monotonic()
    rng = np.random.default_rng(0)
    mixture = prior(rng)
    results: dict[str, Any] = {
        problem: measurements(rng, mixture, problem) for problem in ("inpainting", "three noisy measurements")
    }
    results["guidance"] = guidance(rng, mixture)
    for problem, rows in results.items():
        print(f"\n{problem:<36}{'evaluations':>14}{'sliced Wasserstein distance':>30}")
        for name, row in rows.items():
            print(f"{name:<36}{row['evaluations']:>14}{row['distance']:>30.4f}")
    results["seconds"] = round(time.monotonic() - begun, 1)
    pictures = digits(args.runs)
    if not args.no_write:
        images.save_png(HERE / "digits.png", images.grid(pictures, 10), scale=4)
        common.write(HERE / "results.json", results)


if __name__ == "__main__":
    devices.configure()
    main()
