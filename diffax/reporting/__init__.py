"""Logging and visualisation of a run: metrics and loggers, progress bars, image grids, plots, charts and report pages.

matplotlib, Pillow, Jinja2, TensorBoard and other loggers are imported only when used.
"""

from diffax.reporting import atomic, charts, formats, images, loggers, metrics, page, plots, progress

__all__ = ["atomic", "charts", "formats", "images", "loggers", "metrics", "page", "plots", "progress"]
