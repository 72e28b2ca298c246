"""Classifier-free guidance at different scales: python -m experiments.guidance

Draws 2,000 digits of the network of configs/digits_conditional.py at every guidance scale, by DDIM with 50 steps, each
class in turn. Measures how often a classifier of real digits reads the label that the sample was conditioned on, and
the pixel Frechet distance to all real digits. Writes results.json, scales.png and digits.png.
"""

import pathlib
import time

import numpy as np

from diffax import devices
from diffax.evaluation import frechet
from diffax.reporting import images, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, BATCH = 2000, 500
SCALES = (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun, real, classifier = time.monotonic(), common.real_digits(), common.digit_classifier()
    trained = common.trained_model("digits_conditional", args.runs)
    labels = trained.model.labels(NUM_DIGITS)
    agreement, distance, pictures = [], [], []
    print(f"{'scale':>8}{'label agreement':>18}{'Frechet distance':>18}")
    for scale in SCALES:
        drawn = trained.with_sampler(guidance_scale=scale).draw(NUM_DIGITS, labels=labels, batch_size=BATCH)
        flat = drawn.reshape(NUM_DIGITS, -1).astype(np.float64)
        agreement.append(float(np.mean(classifier.predict(flat) == labels)))
        distance.append(frechet.distance_between(flat, real))
        pictures.append(drawn[:20])
        print(f"{scale:>8g}{agreement[-1]:>18.4f}{distance[-1]:>18.4f}", flush=True)
    if args.no_write:
        return
    panels = {
        "label agreement": {"agreement": (SCALES, agreement)},
        "pixel Frechet distance": {"distance": (SCALES, distance)},
    }
    plots.lines(HERE / "scales.png", panels, xlabel="guidance scale")
    images.save_png(HERE / "digits.png", images.grid(np.concatenate(pictures), 20), scale=2)
    results = {"scales": SCALES, "label agreement": agreement, "Frechet distance": distance}
    common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    devices.configure()
    main()
