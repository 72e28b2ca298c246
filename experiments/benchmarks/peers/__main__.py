"""diffax beside PyTorch libraries, side by side on one machine: python -m experiments.benchmarks.peers

Rows are what a user waits for, from a training step to the first sample; columns are diffax, diffusers (eager,
channels-last and torch.compile) and denoising-diffusion-pytorch, with the same network, batch and data type. Every cell
has a child process of its own. The processes of a row take turns, call by call, so that other work on the machine
slows all of them, and only one computes at a time; on a GPU they start beside one another. The tables have medians,
quartiles, and the median of the ratios of neighbouring calls to diffax's. The ceilings of the machine (matrix product,
convolution, copy) are rows too.

    --only train_step_float32,forward_float32    some rows (--list names them)
    --rounds 9                                   calls of each cell; those that take minutes are called less often
    --batch 64                                   images of a training step; 16 by default, 128 on a GPU
    --sample_batch 16                            images of the rows of samples; 64 by default, 16 on a GPU
    --patience 300                               seconds for which a column's first call is awaited
    --python .venv-newest/bin/python             runs diffax's columns: another version of JAX
    --file peers_avx512.json                     where the rows are written, if not to the file named below
    --quick                                      tiny sizes, in minutes: shows that everything runs

Needs '.[benchmarks]', and '.[cuda]' for NVIDIA GPUs; `make benchmark-peers` runs it in an environment of its own. A row
is written to peers.json, or peers_gpu.json where there is a GPU, once it is measured, and replaces the former one of
its name.
"""

import dataclasses
import math
import os
import pathlib
import sys

from diffax import devices
from diffax.sweeps import workers
from experiments import common
from experiments.benchmarks.peers import table, turns
from experiments.benchmarks.peers.rows import ROWS, Row
from experiments.benchmarks.peers.sizes import Sizes

HERE = pathlib.Path(__file__).parent


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    gpu = bool(workers.gpus())
    # JAX, which describes the machine, would take most of the memory that the rows need.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    fit = [name for name, row in ROWS.items() if gpu or not row.accelerated]
    parser.add_argument("--only", default=",".join(fit), help="rows, separated by commas")
    parser.add_argument("--columns", default="", help="columns, separated by semicolons; all by default")
    parser.add_argument("--rounds", type=int, default=9, help="calls of each cell")
    parser.add_argument("--batch", type=int, help="images of a training step; 16 by default, 128 on a GPU")
    parser.add_argument("--sample_batch", type=int, help="images of the rows of samples; 64 by default, 16 on a GPU")
    parser.add_argument("--patience", type=float, default=math.inf, help="seconds to wait for a column's first call")
    parser.add_argument("--python", default=sys.executable, help="runs diffax's columns: another version of JAX")
    parser.add_argument("--file", help="where the rows are written, in this folder; peers.json or peers_gpu.json")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that everything runs")
    parser.add_argument("--list", action="store_true", help="list the rows")
    args = parser.parse_args()
    if args.list:
        print(*(f"{name:<28}{row.what}" for name, row in ROWS.items()), sep="\n")
        return
    names = args.only.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no row {', '.join(unknown)}; --list names them")
    sizes = Sizes.quick() if args.quick else Sizes.accelerated() if gpu else Sizes()
    if args.batch:
        sizes = dataclasses.replace(sizes, batch=args.batch)
    if args.sample_batch:
        sizes = dataclasses.replace(sizes, sample_batch=args.sample_batch)
    path = HERE / (args.file or ("peers_gpu.json" if gpu else "peers.json"))
    if args.quick:
        path = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / "peers-quick.json"
    for name in names:
        row = _run_by(args.python, ROWS[name])
        columns = [column for column in row.columns if not args.columns or column in args.columns.split(";")]
        rounds = 1 if args.quick and row.once else min(args.rounds, row.rounds)
        before = os.getloadavg()
        found = turns.measure(row, columns, sizes, rounds, together=gpu, patience=args.patience)
        print(table.of_row(row.what, found), flush=True)
        if not args.no_write:
            load = {"before": before, "after": os.getloadavg()}
            conditions = {"sizes": dataclasses.asdict(sizes), "load average": load, "environment": devices.describe()}
            common.write_row(path, "rows", name, {"columns": found} | conditions, {"not compared": NOT_COMPARED})
    print(*(f"{library}: {reason}" for library, reason in NOT_COMPARED.items()), sep="\n")


def _run_by(python: str, row: Row) -> Row:
    """The row with diffax run by another interpreter, which needs diffax installed, and no PyTorch."""
    cells = row.columns.items()
    other = {column: dataclasses.replace(cell, python=python) for column, cell in cells if cell.module == "ours"}
    return dataclasses.replace(row, columns={**row.columns, **other})


NOT_COMPARED = {
    "hackable_diffusion": "not compared: it needs Python 3.12",
    "FlaxDiff": "not compared: it needs clu, which imports TensorFlow",
}

if __name__ == "__main__":
    main()
