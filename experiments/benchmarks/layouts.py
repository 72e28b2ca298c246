"""One data set in three layouts: python -m experiments.benchmarks.layouts --images DIR

DIR has JPEG files in train/CLASS and test/CLASS. They are read as image folders (data source folder), and as Parquet
shards in the Hub's layout and WebDataset shards (huggingface, which needs pip install 'diffax[hf]'). Batches are
compared to the bit, and timed: opened, in shuffled batches of 128 decoded by one thread, and loaded whole by eight.
Writes layouts.json.
"""

import io
import pathlib
import tarfile
import tempfile
import time
from typing import Any

import numpy as np

from diffax import devices
from diffax.data import folder, huggingface, pipeline, source
from experiments import common

HERE = pathlib.Path(__file__).parent
BATCH, NUM_BATCHES, NUM_SHARDS = 128, 60, 2


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--images", type=pathlib.Path, required=True, help="the folder of train/CLASS and test/CLASS")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        write(args.images, root)
        openers = {
            "folder": lambda: folder.open_folder("train", path=str(args.images)),
            "Parquet": lambda: huggingface.open_huggingface("train", path=str(root / "parquet")),
            "WebDataset": lambda: huggingface.open_huggingface("train", path=str(root / "tar")),
        }
        results, first = {}, None
        for layout, opener in openers.items():
            opener()  # datasets copies the files into its cache once
            results[layout], content = measured(opener)
            first = first or content
            results[layout]["the same to the bit"] = all(map(np.array_equal, first, content))
            print(layout, results[layout], flush=True)
    if not args.no_write:
        common.write(HERE / "layouts.json", results)


def write(images: pathlib.Path, root: pathlib.Path) -> None:
    """Writes the images as Parquet in the Hub's layout and as WebDataset."""
    import datasets

    for split in ("train", "test"):
        classes = sorted(path.name for path in (images / split).iterdir())
        folders = [(k, sorted((images / split / name).iterdir())) for k, name in enumerate(classes)]
        files = [(file.read_bytes(), k) for k, group in folders for file in group]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)})
        for shard in range(NUM_SHARDS):
            part = files[shard * len(files) // NUM_SHARDS : (shard + 1) * len(files) // NUM_SHARDS]
            rows = {"image": [{"bytes": content, "path": None} for content, _ in part], "label": [k for _, k in part]}
            path = root / "parquet" / "data" / f"{split}-{shard:05d}-of-{NUM_SHARDS:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))
            write_tar(root / "tar" / f"{split}-{shard:05d}.tar", part)


def write_tar(path: pathlib.Path, files: list[tuple[bytes, int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for index, (content, label) in enumerate(files):
            for suffix, member_content in (("jpg", content), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{path.stem}{index:06d}.{suffix}")
                member.size = len(member_content)
                archive.addfile(member, io.BytesIO(member_content))


def measured(opener: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Times, and the images and labels of all batches and of the whole."""
    begun = time.perf_counter()
    opened = opener()
    opening = time.perf_counter() - begun
    stream = pipeline.Pipeline(source.Reader(opened), BATCH)
    stream.batch(NUM_BATCHES)
    begun = time.perf_counter()
    batches = [stream.batch(step) for step in range(NUM_BATCHES)]
    in_batches = NUM_BATCHES * BATCH / (time.perf_counter() - begun)
    begun = time.perf_counter()
    whole = source.load(opened)
    loaded = len(whole) / (time.perf_counter() - begun)
    numbers = {
        "seconds to open": round(opening, 1),
        "images/s in batches": round(in_batches),
        "images/s loaded whole": round(loaded),
    }
    content = [array for batch in batches for array in batch.values()]
    return numbers, [*content, whole.examples, whole.labels]


if __name__ == "__main__":
    devices.configure()
    main()
