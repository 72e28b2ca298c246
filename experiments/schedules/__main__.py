"""Which noise schedule at equal cost? python -m experiments.schedules

Trains configs/sweeps/schedules.py (linear, cosine and sigmoid, three seeds each) over configs/digits.py where `runs/`
does not have it yet, and measures 2,000 digits of every point. Writes results.json and quality.png.
"""

import pathlib

from diffax import devices
from experiments import digit_quality

EVALUATIONS = (5, 10, 20, 50)


def main() -> None:
    args = digit_quality.parse_args(__doc__)
    digit_quality.sweep("schedules", EVALUATIONS, pathlib.Path(__file__).parent, args)


if __name__ == "__main__":
    devices.configure()
    main()
