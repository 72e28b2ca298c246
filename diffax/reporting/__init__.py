"""Logging and visualisation of a run: metrics, progress bars, image grids and plots.

matplotlib, Pillow and TensorBoard are imported only when used.
"""

from diffax.reporting import atomic, images, metrics, plots, progress

__all__ = ["atomic", "images", "metrics", "plots", "progress"]
