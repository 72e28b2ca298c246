"""Three noise schedules by three seeds, at equal cost:

    python launch.py --config configs/digits.py --sweep configs/sweeps/schedules.py --where local

The schedule alone changes; network, prediction type, loss weighting, training times and the number of steps stay.
`linear_beta` is DDPM's schedule in continuous time (arXiv:2011.13456), `cosine` that of arXiv:2102.09672, `sigmoid`
that of arXiv:2212.11972.

Cost: 9 runs of the config; --dry_run estimates it.
"""

from diffax import sweeps


def get_points() -> list[sweeps.Overrides]:
    return sweeps.product({"schedule.name": ["linear_beta", "cosine", "sigmoid"]}, sweeps.seeds(3))
