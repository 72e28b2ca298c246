"""FD-loss on handwritten digits, 8x8: a trained model becomes a generator of one evaluation, without a teacher.

    python launch.py --config configs/digits_frechet_distance.py --init_from runs/digits_flow

The UNet of configs/digits_flow.py, started from a run of it, lowers the Frechet distance between its samples of one
evaluation and the data, in pixels (arXiv:2604.28190). The moments of the samples are moving averages over the last
twenty batches or so. Frechet distances of pixels, and all other metrics there, say no more how good it is: reports mark
them, and --features=classifier measures it in others. With --config.loss.features=classifier it is trained in those;
experiments/few_steps compares the two, and learning rates.

Cost: 700 steps of 128 images after configs/digits_flow.py. Score after 181 of them, and 700 of the flow:
Frechet distance in a classifier's features 59.8; 6.3 by 50 evaluations of a flow of equal cost (experiments/few_steps).
"""

from ml_collections import ConfigDict

from diffax import config as settings


def get_config() -> ConfigDict:
    config = settings.default()
    config.data = settings.choice("digits")
    config.model = settings.choice(
        "unet", channels=32, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(), groups=8
    )
    config.schedule = settings.choice("flow")
    config.parameterization = settings.choice("flow")
    config.loss = settings.choice("frechet_distance", decay=0.9)
    config.loss.features = settings.choice("pixels")
    config.optimizer = settings.choice("muon", b2=0.99, max_grad_norm=1.0)
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 100
    config.optimizer.decay = settings.choice("cosine", final_fraction=0.005)
    config.ema = {"constant": {"decay": 0.997}}
    config.train.batch_size = 128
    config.train.num_steps = 700
    config.train.log_every = 100
    config.train.checkpoint_every = 350
    config.evaluators = {
        "samples": {"every": 350},
        "sample_metrics": {"every": 350, "metrics": ("frechet",), "features": {"name": "classifier"}},
    }
    config.sampler = settings.choice("euler", num_steps=1)
    return config
