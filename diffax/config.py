"""The configuration of a run: every setting with its default.

The files of configs/ change them, resolve.py completes and checks them, and build.py makes objects of them.
"""

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def choice(name: str, /, **options: Any) -> ConfigDict:
    """A choice: what to use, and its options; `settings.choice("min_snr", gamma=5.0)`.

    The options are the keyword arguments of what the name stands for; those that are not given have its defaults
    (`launch.py --mode show` prints all). A name with a colon, "my_project.networks:UViT", is an object of your own.
    Settings that stand beside a choice, such as num_steps of a sampler, may be given with the options.
    """
    return ConfigDict({"name": name, **options})


def default() -> ConfigDict:
    """A configuration with every setting there is, except for the options of its choices.

    A config file replaces a choice as a whole: `config.sampler = settings.choice("ddpm", variance="large")`. Settings
    beside the choice that it does not give stay at these defaults.
    """
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "digits",
                "augment": choice("none"),
                "pad": 0,  # pixels of zeros around an image
                "only_label": placeholder(object),  # train on one class alone, by its name or number
                "dequantize": False,  # uniform dequantization noise, for models of densities
                "on_corrupt": "raise",  # or skip: the next good example takes the place of one that cannot be read
                "cache_gb": 4.0,  # decoded images are kept in memory up to that
                "on_device": placeholder(bool),  # keep the data set on the device; None: where it fits
                "workers": placeholder(int),  # processes that decode what is not kept in memory
            },
            "model": {
                "name": "unet",
                "time_input": choice("scaled"),
                "drop_together": 0.0,  # probability of training without any condition, beside each condition's `drop`
            },
            # What the network is told beside x_t, by the names of the conditions; an entry's choice is its key unless
            # it has a `name`. `drop` is the probability of training without the condition, for guidance.
            "conditions": {},
            "schedule": choice("cosine"),
            "noise": choice("normal"),  # what eps is drawn from; pfgmpp for Poisson flow
            "parameterization": choice("v"),
            "loss": {
                "name": "denoising",  # or hybrid, variational_bound, which train the variance of reverse steps
                "weighting": choice("velocity"),
                "time_density": choice("uniform"),
                "stratified": False,  # one training time from each of batch_size equal slices of probability
                "stable_targets": False,  # regress on the exact denoiser of the training set (arXiv:2302.00670)
                # Of losses that compare generated samples with data: drifting, frechet_distance.
                "features": choice("pixels"),
                "teacher": placeholder(str),  # the directory of a run to regress on instead: distillation
                "teacher_guidance": 1.0,  # the guidance scale of the teacher; 1 for none
            },
            "optimizer": {
                "name": "adam",
                "learning_rate": 2e-4,  # its peak
                "warmup_steps": 0,
                "decay": choice("constant"),
            },
            # Exponential moving averages of the parameters, all tracked at once; the key is the rule's name unless the
            # entry has a `name`.
            "ema": {"constant": choice("constant")},
            "train": {
                "batch_size": 128,
                "coupling": choice("none"),  # which noise goes with which example: optimal transport in the batch
                "accumulate": 1,  # gradient accumulation: parts that a batch is worked through in
                "num_steps": 100_000,
                "log_every": 100,
                "checkpoint_every": 5_000,
                "keep_checkpoints": 3,  # the newest, beside the best
                "best": "held_out_loss",  # the evaluator's value by which one checkpoint more is kept
                "best_is": "lowest",  # or highest
                "max_skipped": 10,  # steps in a row whose loss or gradient is not finite, before the run stops
                "snapshot_every": 0,  # steps between stored power-function averages, for post-hoc EMA; 0 for none
                "snapshot_dtype": "float32",  # or float16
            },
            # What is measured and drawn during training; the key is the evaluator's name unless it has a `name`.
            "evaluators": {"samples": {"every": 5_000}, "held_out_loss": {"every": 5_000}},
            # What --mode evaluate measures, by default.
            "evaluation": {
                "metrics": ("frechet", "kernel", "precision_recall"),
                "features": choice("pixels"),
                "num_samples": 10_000,
                "reference": "train",  # or held_out: what samples are compared with
                "reference_size": 50_000,  # random examples of it, at most
                "labels": "equal",  # each class in turn; or drawn at random
            },
            # What --mode likelihood computes, by default.
            "likelihood": {
                "split": "held_out",  # or train
                "num_examples": 1000,  # random examples of it, at most
                # Noise that makes a density of discrete data: truncated_normal, uniform or variational.
                "dequantization": choice("truncated_normal"),
                "divergence": choice("rademacher"),  # or gaussian, with num_probes; or exact
                "tolerance": 1e-4,  # relative and absolute, of the ODE solver
                # Of the bound: small, large or learned; None: learned where it is; small of images, large of points.
                "variance": placeholder(str),
                "num_steps": placeholder(int),  # of the bound; None: those of a discrete schedule, or 1,000
                "num_draws": 50,  # steps drawn for each example; 0 for all of them
            },
            # Where metrics and pictures go beside the run directory's files; the key is the logger's name unless it has
            # a `name`.
            "loggers": {"tensorboard": choice("tensorboard")},
            # Devices of all processes: `data` copies of the state, each split over `fsdp` devices. None: all the rest.
            "mesh": {"data": placeholder(int), "fsdp": 1},
            "sampler": {
                "name": "ddim",
                "num_steps": 50,
                "grid": choice("uniform"),
                # `over`: the conditions that guidance acts on, all unless given.
                "guidance": choice("none", over=()),
                "thresholding": choice("none"),
                "epsilon_scale": 1.0,
                "average": placeholder(str),  # the key of config.ema to draw by; None: the first in alphabetical order
            },
        }
    )


# Settings that may change when a run is continued: they do not touch what is learned. All others identify the run.
# train.num_steps is one of them only without a decay, which ends at that step (runs.directory.check_same_run).
FREE = (
    "data.cache_gb",
    "data.on_device",
    "data.workers",
    "evaluation",
    "evaluators",
    "likelihood",
    "loggers",
    "mesh",
    "model.remat",
    "sampler",
    "train.accumulate",
    "train.best",
    "train.best_is",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.max_skipped",
    "train.num_steps",
    "train.snapshot_dtype",
    "train.snapshot_every",
)
