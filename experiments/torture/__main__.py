"""Is a run that is killed over and over the run that was left alone? python -m experiments.torture --kills 50

configs/digits_ddpm.py with a small network: once undisturbed, once killed at random moments, half of them in the middle
of a save, and started again by the same command. Then every array of the last checkpoints and every line of
metrics.jsonl are compared, and all of it is written to results.json.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from experiments import common
from experiments.torture import killing

HERE = pathlib.Path(__file__).parent
# The mean number of steps between a start and the kill; a run is long enough for all kills.
ADVANCE, CHECKPOINT_EVERY = 15, 8
SMALL = [
    "--config.model.channels=8",
    "--config.model.groups=4",
    "--config.train.batch_size=16",
    "--config.train.log_every=7",
    f"--config.train.checkpoint_every={CHECKPOINT_EVERY}",
    "--config.train.num_images=4",
    "--config.sampler.num_steps=5",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which it is killed")
    parser.add_argument("--no_write", action="store_true", help="print only")
    options = parser.parse_args()
    num_steps = ADVANCE * (options.kills + 5) * 3 // 2
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def command(run: str) -> list[str]:
            sizes = [f"--config.train.num_steps={num_steps}", f"--config.train.sample_every={num_steps // 10}"]
            return ["--config", "configs/digits_ddpm.py", "--workdir", str(folder / run), *SMALL, *sizes]

        undisturbed = killing.start(command("undisturbed"), folder / "undisturbed.out")
        undisturbed.join()
        if undisturbed.exitcode != 0:
            sys.exit((folder / "undisturbed.out").read_text())
        tally = killing.torture(
            command("tortured"), folder / "tortured", kills=options.kills, mean_advance=ADVANCE, seed=options.seed
        )
        different = killing.differences(folder / "undisturbed", folder / "tortured", num_steps)
        results = {
            "steps": num_steps,
            "checkpoint every": CHECKPOINT_EVERY,
            "kills": tally.kills,
            "kills by signal": tally.signals,
            "kills in the middle of a save": tally.during_saves,
            "starts": tally.starts,
            "steps made in vain": tally.steps_lost,
            "arrays compared": len(killing.arrays(folder / "tortured", num_steps)),
            "lines compared": len(killing.lines(folder / "tortured")),
            "equal": not different,
            "seconds": round(time.monotonic() - begun),
        }
    for what, value in results.items():
        print(f"{what:<32}{value}")
    if different:
        sys.exit(f"differ: {', '.join(different)}")
    if not options.no_write:
        common.write(HERE / "results.json", results)


if __name__ == "__main__":
    main()
