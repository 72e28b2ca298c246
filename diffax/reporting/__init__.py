"""What a run leaves to look at: metrics, progress, pictures. matplotlib, Pillow and TensorBoard load only when used."""

from diffax.reporting import atomic, images, metrics, plots, progress

__all__ = ["atomic", "images", "metrics", "plots", "progress"]
