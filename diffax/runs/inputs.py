"""Images that a person gives to a trained model, to be inverted and edited: of a file or a folder."""

import dataclasses
import pathlib

import numpy as np

from diffax.data import dataset, decoding, files, listing, shards
from diffax.runs.errors import UserError, for_people
from diffax.runs.model import DataDescription, Model


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """Examples in the network's range.

    x: (n, *sample_shape) float32, [-1, 1] for images.
    classes: the name of the class of each, from the folders that the images lie in or the labels of an archive; None
      where there are none.
    """

    x: np.ndarray
    classes: tuple[str, ...] | None = None

    def labels(self, model: Model) -> np.ndarray | None:
        """The classes as labels of a model, (n,); None without classes, or for a model that is told none.

        Raises:
          UserError: a class that the model does not have.
        """
        if self.classes is None or model.num_classes is None:
            return None
        with for_people():
            numbers = [
                dataset.class_number("a class of --input", name, model.num_classes, model.class_names)
                for name in self.classes
            ]
        return np.array(numbers, np.int32)


def read(path: str | pathlib.Path, model: Model, *, resize: bool = False) -> Inputs:
    """Reads an image file, a folder of images, a .npy or .npz file or a sample set, as a model takes it.

    The classes of a folder are its sub-folders, if no image lies beside them. Arrays are read as by
    data.files.load_arrays.

    Args:
      resize: whether image files of another size are center-cropped and resized.

    Raises:
      UserError: nothing there, a file that cannot be read, or an image of another size or number of channels.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise UserError(f"{path}: there is nothing; expected an image, a .npz or .npy file or a folder of images")
    with for_people():
        if path.suffix.lower() in (".npz", ".npy") or (path.is_dir() and shards.listed(path)):
            return _of_arrays(path, model.data)
        if model.data.num_levels is None:
            raise UserError(f"{path}: this model is of points; give them as a .npz or .npy file")
        paths, classes = ([path], None) if path.is_file() else _listed(path)
        return Inputs(np.stack([_of_file(one, model.data, resize) for one in paths]), classes)


def _listed(folder: pathlib.Path) -> tuple[list[pathlib.Path], tuple[str, ...] | None]:
    """The images in a folder and below, and the names of their classes."""
    found = listing.list_images(folder, "none").files
    if any(file.parent == folder for file in found):
        return found, None
    by_class = listing.list_images(folder, "folders")
    names = by_class.class_names or ()
    return by_class.files, tuple(names[label] for label in by_class.labels)


def _of_file(path: pathlib.Path, data: DataDescription, resize: bool) -> np.ndarray:
    """An image file as (height, width, channels) in [-1, 1]."""
    height, width, channels = data.sample_shape
    header = decoding.header(path, str(path))
    if header.channels != channels:
        raise ValueError(f"{path}: has {_counted(header.channels)}, and the images of this model {channels}")
    if (header.height, header.width) != (height, width) and not resize:
        raise ValueError(
            f"{path}: has {header.width} x {header.height} pixels, and the images of this model {width} x {height}: "
            "--resize crops and resizes it"
        )
    pixels = decoding.Form((height, width, channels), resizes=resize).decode(path, str(path))
    return dataset.to_network_range(pixels, 256)


def _of_arrays(path: pathlib.Path, data: DataDescription) -> Inputs:
    found = files.load_arrays("all", path=str(path), points=data.num_levels is None)
    if found.shape != data.sample_shape:
        raise ValueError(f"{path}: has examples of shape {found.shape}, and this model {data.sample_shape}")
    if (found.num_levels is None) != (data.num_levels is None):
        kinds = ("points", "images") if found.num_levels is None else ("images", "points")
        raise ValueError(f"{path}: holds {kinds[0]}, and this model is of {kinds[1]}")
    names, labels = found.class_names, found.labels
    classes = None if labels is None or names is None else tuple(names[label] for label in labels)
    return Inputs(np.asarray(found.to_network_range(found.examples)), classes)


def _counted(channels: int) -> str:
    return "1 channel (grey)" if channels == 1 else f"{channels} channels"
