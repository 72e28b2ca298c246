"""What does guidance buy, and what does it cost? python -m experiments.guidance

2,000 digits of the `digits_conditional` network at every scale, DDIM with 50 steps, each class in turn: how often a
classifier of real digits reads the one asked for, and the pixel Frechet distance to all real ones. Writes results.json,
scales.png and digits.png.
"""

import pathlib
import time

import numpy as np

from diffax import devices
from diffax.evaluation import frechet
from diffax.jobs.model import Sampler
from diffax.reporting import images, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, BATCH = 2000, 500
SCALES = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


def main() -> None:
    arguments = common.arguments(__doc__)
    devices.enable_compilation_cache()
    begun, real, classifier = time.monotonic(), common.real_digits(), common.digit_classifier()
    agreement, distance, pictures = [], [], []
    print(f"{'scale':>8}{'label agreement':>18}{'Frechet distance':>18}")
    for scale in SCALES:
        model, params = common.model("digits_conditional", arguments.runs, guidance_scale=scale)
        labels = model.labels(NUM_DIGITS)
        drawn = Sampler(model, BATCH).draw(params, 0, NUM_DIGITS, labels)
        flat = drawn.reshape(NUM_DIGITS, -1).astype(np.float64)
        agreement.append(float(np.mean(classifier.predict(flat) == labels)))
        distance.append(frechet.distance_between(flat, real))
        pictures.append(drawn[:20])
        print(f"{scale:>8g}{agreement[-1]:>18.4f}{distance[-1]:>18.4f}", flush=True)
    if arguments.no_write:
        return
    panels = {
        "share read as the digit asked for": {"agreement": (SCALES, agreement)},
        "pixel Frechet distance": {"distance": (SCALES, distance)},
    }
    plots.lines(HERE / "scales.png", panels, xlabel="guidance scale")
    images.save_png(HERE / "digits.png", images.grid(np.concatenate(pictures), 20), scale=2)
    results = {"scales": SCALES, "label agreement": agreement, "Frechet distance": distance}
    common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    devices.configure()
    main()
