"""Four prediction types by three seeds, at equal cost, each with its usual loss weighting:

    python launch.py --config configs/digits.py --sweep configs/sweeps/parameterizations.py --where local

The noise (eps) with the simple loss of DDPM (arXiv:2006.11239), the image (x_0) with truncated SNR weighting and v with
its own squared error (both arXiv:2202.00512), and the flow velocity with its own squared error (arXiv:2209.03003), all
under the cosine schedule with uniform training times. Network, optimizer and number of steps are those of the config.
Sampling starts at t = 0.99, since the noise says nothing of the image at t = 1, where alpha is 0 (alpha(0.99) = 0.016).

Cost: 12 runs of the config; --dry_run estimates it.
"""

from diffax import sweeps

WEIGHTINGS = {"eps": "uniform", "x_0": "truncated_snr", "v": "velocity", "flow": "flow"}


def get_points() -> list[sweeps.Overrides]:
    types = {
        name: {
            "parameterization.name": name,
            "loss.weighting.name": weighting,
            "loss.time_density.name": "uniform",
            "loss.stable_targets": False,
            "sampler.grid.start": 0.99,
        }
        for name, weighting in WEIGHTINGS.items()
    }
    return sweeps.product(sweeps.named(**types), sweeps.seeds(3))
