"""The settings every run has, with their defaults; configs/*.py change them and build.py turns them into objects."""

import dataclasses

import flax.linen as nn
from ml_collections import ConfigDict, config_dict

from diffax import networks

# Set by the job from the data, or not a setting.
_DERIVED = {"parent", "name", "out_channels", "out_dim", "num_classes", "time_features", "dtype", "remat"}


def default() -> ConfigDict:
    """A config with every key there is, so that a mistyped override is refused.

    Where the name of a thing stands beside options of its own (schedule, parameterization, loss.weighting,
    loss.time_density), a config replaces the whole: config.loss.weighting = {"name": "min_snr", "gamma": 5.0}.
    """
    return ConfigDict(
        {
            "seed": 0,
            "data": {
                "name": "digits",
                "path": "",  # of a folder or files, official ones too; of another TFDS set, its data_dir
                "size": config_dict.placeholder(int),  # images are cropped and resized to squares of that side
                "channels": config_dict.placeholder(int),  # 1 or 3; that of the first image
                "pad": 0,  # pixels of zeros around an image
                "only_label": config_dict.placeholder(int),  # the one class to keep
                "augment": "none",  # or flip, geometric
                "dequantize": False,  # uniform noise of one level, for models of densities
                "on_corrupt": "raise",  # or skip
                "cache_gb": 4.0,  # decoded images are held in memory up to that
                "resident": config_dict.placeholder(bool),  # on the device; if they fit there
                "workers": config_dict.placeholder(int),  # processes that decode what is not held in memory
            },
            "model": network(networks.UNet),
            "schedule": {"name": "cosine"},
            "parameterization": {"name": "v"},
            "loss": {
                "weighting": {"name": "velocity"},
                "time_density": {"name": "uniform"},
                "stratified": False,
                "stable_targets": False,
            },
            "optimizer": {
                "name": "adam",
                "learning_rate": 2e-4,
                "warmup_steps": 0,
                "decay": "constant",
                "final_fraction": 0.0,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "momentum": 0.95,
                "moment_dtype": "float32",  # or bfloat16: of Adam's first moment, and of Muon's momentum
                "weight_decay": 0.0,
                "max_grad_norm": config_dict.placeholder(float),
            },
            "ema": {
                "kinds": ("constant",),  # constant, half_life, power: all kept at once; samples are of the first
                "decay": 0.9999,  # constant: after a warm-up
                "half_life": 500_000,  # half_life: in examples
                "ramp_up": 0.05,  # half_life: at most that share of the examples so far
                "lengths": (0.05, 0.1),  # power: relative lengths, each an average of its own
                "snapshot_every": 0,  # power: steps between stored averages, for any length afterwards; 0 for none
                "snapshot_dtype": "float32",  # or float16
            },
            "train": {
                "batch_size": 128,
                "accumulate": 1,  # parts that a batch is worked through in, where it does not fit in memory
                "num_steps": 100_000,
                "log_every": 100,
                "sample_every": 5_000,
                "checkpoint_every": 5_000,
                "diagnose_bins": 0,  # of log-SNR, whose loss and gradient are measured with every sample; 0 for none
                "keep_checkpoints": 3,  # the newest, beside that of the lowest held-out loss
                "num_images": 64,
                "steps_per_dispatch": 1,  # in one call of the device; more than 1 is for accelerators and short steps
                "max_skipped": 10,  # steps in a row whose loss or gradient is not finite, before the run stops
            },
            # Devices of all processes: `data` copies of the state, each split over `fsdp` devices. None: all the rest.
            "mesh": {"data": config_dict.placeholder(int), "fsdp": 1},
            "sampler": {
                "name": "ddim",
                "num_steps": 50,
                "grid": "uniform",
                "start": 1.0,
                "end": 0.0,
                "eta": 0.0,
                "variance": "small",
                "churn": 0.0,
                "order": config_dict.placeholder(int),
                "form": config_dict.placeholder(str),
                "weights": config_dict.placeholder(str),
                "tau": config_dict.placeholder(float),
                "guidance_scale": 1.0,
                "epsilon_scale": 1.0,
            },
        }
    )


def network(module: type[nn.Module]) -> ConfigDict:
    """The settings of a network with that class's defaults.

    time_input: index, scaled, quarter_log_sigma or log_snr; dtype: of its computation; class_conditional: whether it
    is told labels, and label_drop how often it is not, for classifier-free guidance. remat, of the UNet: none, products
    or blocks, of which less and less is kept in memory for the gradient and more computed again.
    """
    settings = ConfigDict(
        {"name": module.__name__.lower(), "time_input": "scaled", "dtype": "float32"}
        | {"class_conditional": False, "label_drop": 0.1}
    )
    for field in dataclasses.fields(module):
        if field.name == "remat":
            settings.remat = "none"
        if field.name not in _DERIVED:
            settings[field.name] = config_dict.placeholder(int) if field.default is None else field.default
    return settings
