"""Small stand-ins for stock TFDS datasets, with the same names and features, written without TensorFlow."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def encoded(shape, seed, kind):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels).save(file, kind)
    file.seek(0)
    return file


def prepare(name, data_dir, splits, *, num_examples=6, kind="png"):
    """Prepares `name` under `data_dir` with random images; everything but the image is zero, or class 0."""
    stock, _, config = name.partition("/")
    parent = tfds.builder_cls(stock)

    def zero(feature):
        if isinstance(feature, tfds.features.FeaturesDict):
            return {key: zero(value) for key, value in feature.items()}
        return 0

    def examples(self, seed):
        for index in range(num_examples):
            example = {key: zero(feature) for key, feature in self.info.features.items()}
            yield index, example | {"image": encoded(self.info.features["image"].shape, seed + index, kind)}

    body = {
        "name": stock,
        "__module__": parent.__module__,
        "pkg_dir_path": parent.pkg_dir_path,
        "_split_generators": lambda self, _: {split: examples(self, 100 * i) for i, split in enumerate(splits)},
        "_generate_examples": examples,
    }
    builder_class = type(parent)(parent.__name__, (parent,), body, skip_registration=True)
    options = {"config": config} if config else {}
    builder_class(data_dir=str(data_dir), file_format="array_record", **options).download_and_prepare()
