"""The cost of the Frechet distance: python -m experiments.benchmarks.statistics

50,000 x 2,048 float32 features, as the FID has them, come in shards of 5,000. Measures the statistics of each shard,
merging them and the distance to reference statistics, without the time to draw the features: wall-clock seconds, CPU
seconds over all threads, which other work on the machine hardly changes, and the peak memory of the whole process. Then
the same for precision and recall of 10,000 x 2,048 features, all pairs of which would take 800 MB. Writes
statistics.json.
"""

import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from diffax.evaluation import Moments, frechet, moments, precision_recall
from experiments import common

HERE = pathlib.Path(__file__).parent
SAMPLES, DIM, SHARD, NEIGHBOURS = 50_000, 2048, 5_000, 10_000


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    results: dict[str, Any] = {"samples": SAMPLES, "features": DIM, "samples in a shard": SHARD}
    results["load average before"] = os.getloadavg()[0]
    results["MB of the process before"] = peak_megabytes()
    results |= measure_frechet()
    results["MB of the process, peak"] = peak_megabytes()
    results |= measure_precision_recall()
    for what, value in results.items():
        print(f"{what:<60}{value:>14,.4g}")
    if not args.no_write:
        common.write(HERE / "statistics.json", results)


def measure_frechet() -> dict[str, float]:
    """Times of each part, of generated samples against a reference of which only the statistics are there."""
    reference = reference_moments()
    spent, generated = np.zeros(2), None
    for shard in shards(seed=2):
        found, seconds = timed(Moments.of, shard)
        spent += seconds
        if generated is None:
            generated = found
            continue
        generated, seconds = timed(moments.merged, [generated, found])
        spent += seconds
    distance, distance_spent = timed(frechet.distance, generated, reference)
    return {
        **named("statistics and merging", spent),
        **named("distance", distance_spent),
        **named("both", spent + distance_spent),
        "Frechet distance": distance,
    }


def reference_moments(num: int = SAMPLES, dim: int = DIM) -> Moments:
    """The statistics that samples are compared with."""
    return moments.merged(Moments.of(shard) for shard in shards(1, num, dim))


def measure_precision_recall() -> dict[str, float]:
    """Times of improved precision and recall on NEIGHBOURS samples of each set."""
    sets = [np.concatenate([next(source), next(source)]) for source in (shards(seed=3), shards(seed=4))]
    found, spent = timed(precision_recall.precision_recall, *(samples[:NEIGHBOURS] for samples in sets))
    return {
        "samples for precision and recall": NEIGHBOURS,
        **named("precision and recall", spent),
        "MB of the process with precision and recall, peak": peak_megabytes(),
        **found._asdict(),
    }


def shards(seed: int, num: int = SAMPLES, dim: int = DIM) -> Iterator[np.ndarray]:
    """Correlated features, all seeds with the same mean and covariance."""
    scales = np.geomspace(1, 0.01, dim, dtype=np.float32)
    rng = np.random.default_rng(seed)
    for start in range(0, num, SHARD):
        noise = rng.standard_normal((min(SHARD, num - start), dim), np.float32)
        yield np.cumsum(noise * scales, axis=1, dtype=np.float32)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, np.ndarray]:
    """What a function returns, and the wall-clock and CPU seconds that it took."""
    clocks = (time.perf_counter, time.process_time)
    begun = np.array([clock() for clock in clocks])
    result = function(*arguments)
    return result, np.array([clock() for clock in clocks]) - begun


def named(what: str, spent: np.ndarray) -> dict[str, float]:
    """The entries of results for wall-clock and CPU seconds."""
    return {f"seconds, {what}": float(spent[0]), f"CPU seconds, {what}": float(spent[1])}


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main()
