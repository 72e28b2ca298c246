"""Data sets that Hugging Face's `datasets` reads, local or from its Hub: Parquet, Arrow, image folders, WebDataset.

Splits, columns, feature types and names of classes come from `datasets`; the images are decoded here, on demand, from
the bytes that it keeps in memory-mapped Arrow files. The library is imported only where this source is chosen.
"""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from diffax.data import hub_columns, listing
from diffax.data.arrow_columns import ArrowColumns
from diffax.data.columns import Columns
from diffax.data.dataset import held_out_rows, listed
from diffax.data.decoding import CorruptExample, File, Form
from diffax.data.source import Example
from diffax.data.survey import form_of

_TRAIN, _HELD_OUT = ("train", "training"), ("test", "validation", "valid", "val")
_SAVED = ("dataset_dict.json", "state.json")  # in a folder that datasets' save_to_disk wrote


@final
@dataclasses.dataclass(frozen=True)
class HuggingFace:
    """A split of a Hugging Face data set as a `data.source.Source`; made by `open_huggingface`.

    cells: the column of encoded images: bytes, or {"bytes": ..., "path": ...}.
    rows: which rows of it are of this split.
    labels: the class of every row of the column; None without classes.
    columns: the other columns, of texts and lists of numbers, which are read when they are looked up.
    """

    name: str
    form: Form
    class_names: Sequence[str] | None
    cells: Any
    rows: Int64[np.ndarray, " rows"]
    labels: Sequence[int] | None
    notes: tuple[str, ...] = ()
    files_digest: str | None = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""
        return self.form.shape

    def __len__(self) -> int:
        return len(self.rows)

    def example(self, index: int) -> Example:
        """Decodes one image. Raises CorruptExample, whose message names the split and the row."""
        row = int(self.rows[index])
        where = f"{self.name}, row {row}"
        pixels = self.form.decode(_encoded(self.cells, row, where), where)
        return Example(pixels, None if self.labels is None else self.labels[row])


def open_huggingface(
    split: str,
    *,
    path: str = "",
    subset: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    background: str = "white",
) -> HuggingFace:
    """Opens a split of what `datasets.load_dataset` or `save_to_disk` knows; needs pip install 'diffax[hf]'.

    Args:
      split: train or test. Without a split test, validation is held out, or else every 50th row.
      path: a folder, a file (.parquet, .arrow, .tar for WebDataset), or a name on the Hub. HF_HUB_OFFLINE=1 keeps it
        from the network.
      subset: the configuration of a data set that has several.
      train_split, test_split: the names of the splits to use, where these are not the usual ones.
      image_column: the column of images; None for the first of feature type Image, or image, img, images.
      label_column: the column of classes, ClassLabel, integers or names; "" for none; None for label, labels,
        fine_label, class or cls if there is one, or the only ClassLabel.
      size: the side of the square that every image is center-cropped and resized to, with antialiasing; None if all
        images have one size.
      channels: 1 for grey, 3 for colour; None for the channels of the majority of the training images.
      background: the colour on which transparent pixels are composited: black, white or #rrggbb.

    Raises:
      ValueError: no path, no `datasets`, what it cannot read, no column of images, or classes that do not fit.
    """
    if not path:
        raise ValueError("data.name = 'huggingface' needs data.path: --config.data.path=...")
    splits = _loaded(path, subset)
    train_key, held_out_key = _chosen(path, splits, train_split, test_split)
    train, key = splits[train_key], train_key if split == "train" or held_out_key is None else held_out_key
    image = hub_columns.image_column(path, train.features, image_column)
    label = hub_columns.label_column(path, train.features, label_column)
    classes = None if label is None else hub_columns.classes(f"{path}/{train_key}", train, label)
    chosen, notes = splits[key], _unused(splits, {train_key, held_out_key})
    rows = np.arange(len(chosen))
    if held_out_key is None:
        rows, note = held_out_rows(path, len(chosen), split)
        notes += (note,)
    cells = hub_columns.Cells.of(train, image)
    form, changes = form_of(
        lambda row: _encoded(cells, row, f"{path}/{train_key}, row {row}"),
        len(train),
        lambda row: f"{path}/{train_key}, row {row}",
        size=size,
        channels=channels,
        background=background,
    )
    names, labels = None, None
    if label is not None and classes is not None:
        names, labels = classes.names, classes.numbers(f"{path}/{key}", chosen, label)
    name = f"{pathlib.Path(path).name}/{key if held_out_key is not None else split}"
    column = cells if chosen is train else hub_columns.Cells.of(chosen, image)
    others = Columns(name, ArrowColumns.of(chosen, without=(image, label)), len(chosen)).selected(rows)
    return HuggingFace(name, form, names, column, rows, labels, (*notes, *changes), _digest(path, chosen), others)


def _encoded(cells: Any, row: int, where: str) -> File:
    """The encoded bytes of an image, or the path of its file."""
    cell = cells[row]
    if isinstance(cell, Mapping):
        content = cell.get("bytes")
        cell = cell.get("path") if content is None else content
    if not cell:
        raise CorruptExample(f"{where}: there is no image in this row")
    return cell


def _loaded(path: str, subset: str | None) -> dict[str, Any]:
    """The splits of a data set by name."""
    try:
        import datasets
    except ImportError:
        raise ValueError("data.name = 'huggingface' needs datasets: pip install 'diffax[hf]'") from None
    local = pathlib.Path(path).expanduser()
    if not local.exists() and (path.startswith(("/", ".", "~")) or path.count("/") > 1):
        raise ValueError(f"data.path = {path!r} is neither a file or folder nor a name on the Hub")
    try:
        with _quiet(datasets):
            if any((local / name).is_file() for name in _SAVED):
                loaded: Any = datasets.load_from_disk(str(local))
            elif local.exists():
                loaded = _load_local(datasets, local, subset)
            else:
                loaded = datasets.load_dataset(path, subset)
    except Exception as error:  # of many kinds, those of the readers of the file formats among them
        cause = error.__cause__ or error
        message = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise ValueError(f"data.path = {path!r}: datasets cannot read it ({message[:300]})") from error
    return dict(loaded) if isinstance(loaded, Mapping) else {"train": loaded}


_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".tar": "webdataset"}


def _load_local(datasets: Any, path: pathlib.Path, subset: str | None) -> Any:
    if path.is_file():
        if path.suffix not in _BUILDERS:
            raise ValueError(f"a file must be one of {', '.join(_BUILDERS)}")
        return datasets.load_dataset(_BUILDERS[path.suffix], data_files=str(path), **_options(path.suffix))
    suffixes = {file.suffix for file in listing.walk(path)}
    return datasets.load_dataset(str(path), subset, **(_options(".parquet") if suffixes == {".parquet"} else {}))


def _options(suffix: str) -> dict[str, Any]:
    # Its default is the size of a file's first row group, which fails on a file without rows.
    return {"batch_size": 1000} if suffix == ".parquet" else {}


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Without progress bars and log messages: what is wrong is said once, by an exception."""
    verbosity, had_bars = datasets.logging.get_verbosity(), not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if had_bars:
            datasets.enable_progress_bars()


def _chosen(
    path: str, splits: Mapping[str, Any], train_split: str | None, test_split: str | None
) -> tuple[str, str | None]:
    """The names of the training split and of the held-out split, None where there is none."""
    sizes = listed([f"{name} ({len(rows):,} rows)" for name, rows in splits.items()])
    for setting, name in (("train_split", train_split), ("test_split", test_split)):
        if name is not None and not len(splits.get(name, ())):
            raise ValueError(f"data.{setting} = {name!r}: {path} has {sizes}")
    filled = [name for name, rows in splits.items() if len(rows)]
    if not filled:
        raise ValueError(f"{path}: expected rows, got {sizes or 'no split'}")
    train = train_split or next((name for name in _TRAIN if name in filled), filled[0] if len(filled) == 1 else None)
    if train is None:
        raise ValueError(f"{path}: there is no split train; set data.train_split to one of {sizes}")
    held_out = test_split or next((name for name in _HELD_OUT if name in filled and name != train), None)
    return train, None if held_out == train else held_out


def _unused(splits: Mapping[str, Any], used: set[str | None]) -> tuple[str, ...]:
    unused = [f"{name} ({len(rows):,} rows)" for name, rows in splits.items() if name not in used]
    return (f"left out: the splits {listed(unused)}",) if unused else ()


def _digest(path: str, split: Any) -> str:
    """Of the names and sizes of local files; of a data set on the Hub, of its name and size."""
    local = pathlib.Path(path).expanduser()
    if not local.exists():
        return hashlib.sha256(f"{path}, {len(split)} rows".encode()).hexdigest()[:16]
    return listing.digest(local.parent, [local]) if local.is_file() else listing.digest(local, listing.walk(local))
