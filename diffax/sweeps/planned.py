"""The plan of a sweep (--dry_run): its points with what differs between them, and their estimated cost."""

import pathlib
from collections.abc import Sequence

from diffax import resolve
from diffax.jobs import plan
from diffax.reporting import throughput
from diffax.reporting.progress import duration
from diffax.sweeps import directory, programs
from diffax.sweeps import points as sweep_points
from diffax.sweeps.points import Point


def report(points: Sequence[Point], workdir: pathlib.Path) -> None:
    """Prints the table of points, their state, and what training them is estimated to cost.

    A program is traced once for all points that share it, and none is compiled.

    Raises:
      UserError: a point whose settings do not go together.
    """
    columns, costs = sweep_points.differing(points), {}
    ceilings: dict[str, float] = {}
    for same in programs.groups(points, lambda point: programs.key(point.config)):
        dtype = same[0].config.model.get("dtype", "float32")
        if dtype not in ceilings:
            ceilings[dtype] = _ceiling(dtype)
        cost = plan.cost(same[0].config, ceilings[dtype])
        costs.update({point.name: cost for point in same})
    table = [["point", *columns, "state", "parameters", "time"]]
    for point in points:
        flat, cost = resolve.flat(point.config), costs[point.name]
        state = directory.status(workdir, point.name).state.value
        time = "unknown" if cost.seconds is None else duration(cost.seconds)
        values = [str(flat.get(column, "-")) for column in columns]
        table.append([point.name, *values, state, f"{cost.num_params:,}", time])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    known = [cost.seconds for cost in costs.values() if cost.seconds is not None]
    num_programs = len(programs.groups(points, lambda point: programs.key(point.config)))
    total = f"{duration(sum(known))} one after another" if len(known) == len(points) else "unknown time"
    share = f"a guess, at {plan.GUESSED_UTILIZATION:.0%} of the speed of matrix products"
    print(f"{len(points)} points of {num_programs} programs in {workdir}: {total} ({share})", flush=True)


def _ceiling(dtype: str) -> float:
    import jax

    return jax.device_count() * throughput.matmul_flops(dtype)
