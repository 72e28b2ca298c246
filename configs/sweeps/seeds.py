"""Eight seeds of one config, which tell how far a score depends on chance:

    python launch.py --config configs/spiral.py --sweep configs/sweeps/seeds.py --where vmapped

All are trained in one compiled program (on a CPU only networks without convolutions are).

Cost: 8 runs of the config; --dry_run estimates it.
"""

from diffax import sweeps


def get_points() -> list[sweeps.Overrides]:
    return sweeps.seeds(8)
