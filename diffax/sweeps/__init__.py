"""Sweeps: the points of a sweep, where they run, and their table.

A sweep file has `get_points() -> iterable of override dictionaries`, or `get_study() -> an object with ask and tell`:

    from diffax import sweeps

    def get_points():
        return sweeps.product({"optimizer.learning_rate": [1e-3, 2e-3]}, sweeps.seeds(3))
"""

from diffax.sweeps.points import Overrides, named, product, seeds, zipped
from diffax.sweeps.study import OptunaStudy, Study

__all__ = ["OptunaStudy", "Overrides", "Study", "named", "product", "seeds", "zipped"]
