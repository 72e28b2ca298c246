"""--mode sample: pictures and arrays from the newest checkpoint of a run directory."""

import pathlib

from ml_collections import ConfigDict

from diffax import distributed
from diffax.jobs import pictures, run_directory
from diffax.jobs.errors import UserError
from diffax.jobs.model import Model, Sampler, everywhere
from diffax.reporting import images

# Enough in a picture to judge by eye.
MAX_IMAGES = 256


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    num_samples: int,
    batch_size: int = 256,
    seed: int = 0,
    label: int | None = None,
    average: int = 0,
) -> pathlib.Path:
    """Draws num_samples by config.sampler with an average of the parameters; returns the path of the .npz file.

    It holds `samples`, (num_samples, *dims) in the network's range ([-1, 1] for images), and `labels` if the model is
    conditional. A PNG file of the same name lies beside it.

    Raises:
      UserError: no checkpoint, another run's config, or a label or an average the model does not have.
    """
    if num_samples < 1:
        raise UserError(f"--num_samples must be >= 1, got {num_samples}")
    if seed < 0:
        raise UserError(f"--seed must be >= 0, got {seed}")
    model = Model.build(config)
    run_directory.check_same_run(workdir, config)
    labels = model.labels(num_samples, label)
    num_averages = len(model.numbers.averagings)
    if not 0 <= average < num_averages:
        raise UserError(f"--ema must be in 0..{num_averages - 1}, the averages of config.ema, got {average}")
    mesh = everywhere(config)
    step, saved = model.restore(workdir, mesh)
    sampler = Sampler(model, min(batch_size, num_samples), mesh)
    samples = sampler.draw(saved["ema"][average], seed, num_samples, labels)

    options = config.sampler
    guided = f"_guidance{options.guidance_scale:g}" if options.guidance_scale != 1 else ""
    averaged = f"_ema{average}" if average else ""
    name = f"{step:08d}_{options.name}{options.num_steps}{guided}{averaged}_seed{seed}_{num_samples}"
    path = workdir / "generated" / f"{name}.npz"
    if not distributed.is_first():
        return path
    path.parent.mkdir(exist_ok=True)
    images.save_npz(path, samples=samples, **({} if labels is None else {"labels": labels}))
    pictures.save(path.with_suffix(".png"), samples[: MAX_IMAGES if model.dataset.num_levels else None], model.dataset)
    print(
        f"{num_samples} samples of step {step} by {sampler.table.name}, {sampler.table.num_evaluations} evaluations:\n"
        f"  {path}\n  {path.with_suffix('.png')}",
        flush=True,
    )
    return path
