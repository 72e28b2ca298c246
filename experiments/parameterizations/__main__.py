"""Which prediction type at equal cost? python -m experiments.parameterizations

Trains configs/sweeps/parameterizations.py (noise, image, v and flow velocity, three seeds each) over configs/digits.py
where `runs/` does not have it yet, and measures 2,000 digits of every point. Writes results.json and quality.png.
"""

import pathlib

from diffax import devices
from experiments import digit_quality

EVALUATIONS = (5, 10, 20, 50)


def main() -> None:
    args = digit_quality.parse_args(__doc__)
    digit_quality.sweep("parameterizations", EVALUATIONS, pathlib.Path(__file__).parent, args)


if __name__ == "__main__":
    devices.configure()
    main()
