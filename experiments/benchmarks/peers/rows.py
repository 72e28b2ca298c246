"""The rows and columns of the comparison."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

DIFFAX, DIFFUSERS, LAST, COMPILED = "diffax", "diffusers", "diffusers, channels last", "diffusers, torch.compile"
COMPILED_LAST = "diffusers, torch.compile, channels last"
OTHER, PYTORCH = "denoising-diffusion-pytorch", "PyTorch"
PLAIN, TUNED = "diffax, malloc as it is", "diffusers, malloc of diffax"
ALONE, REST = "diffax, its network alone", "diffax, all but its network"
CEILING = "diffax, matrix product"
MEAN_FLOW, IMPROVED = "diffax, MeanFlow", "diffax, improved MeanFlow"
# Before its first five large steps on a CPU diffax gives free memory back (runs.Program.paced), which slows them; a
# child has made one when it is ready.
_SETTLING = 4
_PARTS = {ALONE: "network", REST: "rest"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a child process is asked for: a function in ROWS of a module of this folder, with options.

    tuned: whether it has the settings of malloc that launch.py gives itself.
    python: the interpreter that runs it, if not the parent's.
    """

    module: str
    row: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tuned: bool = False
    python: str = sys.executable


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table; the first column is what the others are compared with.

    rounds: at most so many calls of each cell.
    warm_up: calls of each cell before those that count, beside its first one.
    busy: whether another process keeps one core busy meanwhile.
    start_up: what is timed is not a call but the time from the command to the end of the first call, with empty caches
      of compiled programs and with those that the last start left.
    accelerated: whether it is measured on accelerators alone.
    """

    what: str
    columns: Mapping[str, Cell]
    rounds: int = 100
    warm_up: int = 0
    busy: bool = False
    start_up: bool = False
    accelerated: bool = False

    @property
    def once(self) -> bool:
        """Whether one call takes minutes."""
        return self.rounds < 100


def _network(row: str, dtype: str) -> dict[str, Cell]:
    options = {"dtype": dtype}
    return {
        DIFFAX: Cell("ours", row, options, tuned=True),
        DIFFUSERS: Cell("huggingface", row, options),
        LAST: Cell("huggingface", row, options | {"channels_last": True}),
        COMPILED: Cell("huggingface", row, options | {"compiled": True}),
        COMPILED_LAST: Cell("huggingface", row, options | {"compiled": True, "channels_last": True}),
        OTHER: Cell("denoising_diffusion", row, options),
    }


def _beside_ceiling(row: str, dtype: str) -> dict[str, Cell]:
    cells = {DIFFAX: row, CEILING: "matrix_product"}
    return {column: Cell("ours", name, {"dtype": dtype}, tuned=True) for column, name in cells.items()}


def _allocators() -> dict[str, Cell]:
    cells = _network("train_step", "float32")
    return {
        DIFFAX: cells[DIFFAX],
        PLAIN: dataclasses.replace(cells[DIFFAX], tuned=False),
        DIFFUSERS: cells[DIFFUSERS],
        TUNED: dataclasses.replace(cells[DIFFUSERS], tuned=True),
    }


def _losses() -> dict[str, Cell]:
    columns = {DIFFAX: None, MEAN_FLOW: "mean_flow", IMPROVED: "improved_mean_flow"}
    return {column: Cell("ours", "flow_step", {"loss": loss}, tuned=True) for column, loss in columns.items()}


def _parts() -> dict[str, Cell]:
    """DDIM whole, in parts, and by others."""
    parts = {column: Cell("ours", "ddim", {"part": part}, tuned=True) for column, part in _PARTS.items()}
    return _each("ddim") | parts


def _each(row: str, **options: Any) -> dict[str, Cell]:
    return {
        DIFFAX: Cell("ours", row, options, tuned=True),
        DIFFUSERS: Cell("huggingface", row, options),
        OTHER: Cell("denoising_diffusion", row, options),
    }


def _only(cells: Mapping[str, Cell], *columns: str) -> dict[str, Cell]:
    return {column: cells[column] for column in columns}


def _ceilings(row: str, **options: Any) -> dict[str, Cell]:
    return {DIFFAX: Cell("ours", row, options, tuned=True), PYTORCH: Cell("huggingface", row, options)}


ROWS: dict[str, Row] = {
    "train_step_float32": Row("training step, float32", _network("train_step", "float32"), warm_up=_SETTLING),
    "train_step_bfloat16": Row("training step, bfloat16", _network("train_step", "bfloat16"), warm_up=_SETTLING),
    "large_step_bfloat16": Row(
        "training step, bfloat16, large batches", _beside_ceiling("large_train_step", "bfloat16"), accelerated=True
    ),
    "allocators": Row("training step, float32, by allocator", _allocators(), warm_up=_SETTLING),
    "busy": Row(
        "training step, float32, beside a busy loop on one core",
        _only(_network("train_step", "float32"), DIFFAX, DIFFUSERS, COMPILED),
        warm_up=_SETTLING,
        busy=True,
    ),
    "mean_flow": Row("training step of a flow, float32, by loss", _losses(), warm_up=_SETTLING),
    "forward_float32": Row("forward, float32", _network("forward", "float32")),
    "forward_bfloat16": Row("forward, bfloat16", _network("forward", "bfloat16")),
    "ddim": Row("DDIM, 50 steps", _parts(), rounds=3),
    "ddpm": Row("DDPM, 1,000 steps", _only(_each("ddpm"), DIFFAX, DIFFUSERS), rounds=1),
    "demo": Row("digits demo from nothing", _only(_each("demo"), DIFFAX), rounds=1),
    "start_up": Row(
        "start to first training step",
        _only(_network("train_step", "float32"), DIFFAX, DIFFUSERS),
        rounds=2,
        start_up=True,
    ),
    "checkpoint_save": Row("checkpoint, save", _only(_each("checkpoint"), DIFFAX, DIFFUSERS)),
    "checkpoint_restore": Row("checkpoint, restore", _only(_each("checkpoint", restore=True), DIFFAX, DIFFUSERS)),
    "loader": Row("loader, PNG files, two processes", _only(_each("loader"), DIFFAX, OTHER)),
    "frechet": Row("Frechet distance of 50,000 x 2,048", _only(_each("frechet"), DIFFAX, OTHER), rounds=3),
    "matrix_product_float32": Row("ceiling: matrix product, float32", _ceilings("matrix_product")),
    "matrix_product_bfloat16": Row("ceiling: matrix product, bfloat16", _ceilings("matrix_product", dtype="bfloat16")),
    "convolution_float32": Row("ceiling: 3x3 convolution, float32", _ceilings("convolution")),
    "convolution_bfloat16": Row("ceiling: 3x3 convolution, bfloat16", _ceilings("convolution", dtype="bfloat16")),
    "copy": Row("ceiling: copy", _ceilings("copy")),
}
