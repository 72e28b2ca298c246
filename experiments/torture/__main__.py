"""Exact resumption of a run that is killed many times: python -m experiments.torture --kills 50

Trains configs/digits.py with a small network twice: once undisturbed, and once killed at random moments, at least half
of them during a checkpoint save, and restarted by the same command. Then compares every array of the last checkpoints
and every line of metrics.jsonl. Writes results.json.
"""

import pathlib
import sys
import tempfile
import time

from experiments import common
from experiments.torture import killing

HERE = pathlib.Path(__file__).parent
# ADVANCE is the mean number of steps between a start and the kill.
ADVANCE, CHECKPOINT_EVERY = 15, 8
SMALL = [
    "--config.model.channels=8",
    "--config.model.groups=4",
    "--config.train.batch_size=16",
    "--config.train.log_every=7",
    f"--config.train.checkpoint_every={CHECKPOINT_EVERY}",
    "--config.evaluators.samples.num_samples=4",
    "--config.sampler.num_steps=5",
]


def main() -> None:
    parser = common.make_parser(__doc__, with_runs=False)
    parser.add_argument("--kills", type=int, default=50, help="how many times the run is killed (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments of the kills (default 0)")
    args = parser.parse_args()
    # Long enough for all kills.
    num_steps = ADVANCE * (args.kills + 5) * 3 // 2
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path)

        def command(run: str) -> list[str]:
            every = [f"--config.evaluators.{name}.every={num_steps // 10}" for name in ("samples", "held_out_loss")]
            steps = f"--config.train.num_steps={num_steps}"
            return ["--config", "configs/digits.py", "--workdir", str(folder / run), *SMALL, steps, *every]

        undisturbed = killing.start(command("undisturbed"), folder / "undisturbed.out")
        undisturbed.join()
        if undisturbed.exitcode != 0:
            sys.exit((folder / "undisturbed.out").read_text())
        tally = killing.torture(
            command("tortured"), folder / "tortured", kills=args.kills, mean_advance=ADVANCE, seed=args.seed
        )
        different = killing.differences(folder / "undisturbed", folder / "tortured", num_steps)
        results = {
            "steps": num_steps,
            "checkpoint every": CHECKPOINT_EVERY,
            "kills": tally.kills,
            "kills by signal": tally.signals,
            "kills during a save": tally.during_saves,
            "starts": tally.starts,
            "steps repeated": tally.steps_lost,
            "arrays compared": len(killing.arrays(folder / "tortured", num_steps)),
            "lines compared": len(killing.lines(folder / "tortured")),
            "equal": not different,
            "seconds": round(time.monotonic() - begun),
        }
    for what, value in results.items():
        print(f"{what:<32}{value}")
    if different:
        sys.exit(f"differ: {', '.join(different)}")
    if not args.no_write:
        common.write(HERE / "results.json", results)


if __name__ == "__main__":
    main()
