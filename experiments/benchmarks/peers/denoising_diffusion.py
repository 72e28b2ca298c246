"""The rows of denoising-diffusion-pytorch: its Unet, which is another network of as many parameters, and its Trainer's
parts; and of pytorch-fid, which it brings."""

import itertools
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Unet
from denoising_diffusion_pytorch.denoising_diffusion_pytorch import Dataset
from ema_pytorch import EMA
from pytorch_fid.fid_score import calculate_frechet_distance

from experiments.benchmarks import data, statistics
from experiments.benchmarks.peers import pytorch
from experiments.benchmarks.peers.pytorch import DEVICE, device, device_memory
from experiments.benchmarks.peers.sizes import Sizes, Work

__all__ = ["ROWS", "device", "device_memory"]


def train_step(sizes: Sizes, dtype: str = "float32") -> Work:
    """The step of its Trainer with Adam, clipping and the EMA, which it updates every tenth step."""
    diffusion = _diffusion(sizes)
    average = EMA(diffusion, beta=0.9999, update_every=10)

    def loss(images: torch.Tensor) -> torch.Tensor:
        with pytorch.autocast(dtype):
            return diffusion(images)

    return pytorch.optimized(diffusion, loss, average.update, sizes)


def forward(sizes: Sizes, dtype: str = "float32") -> Work:
    """The network's prediction for a batch."""
    network = _diffusion(sizes).model
    x, t = torch.ones(sizes.batch, 3, 32, 32, device=DEVICE), torch.full((sizes.batch,), 500, device=DEVICE)

    @torch.no_grad()
    def call() -> None:
        with pytorch.autocast(dtype):
            network(x, t)

    return Work(call, finish=pytorch.finished)


def ddim(sizes: Sizes) -> Work:
    """Samples by its DDIM."""
    diffusion, in_one_step = _diffusion(sizes, sizes.steps_few), _diffusion(sizes, 1)
    return Work(  # its sample() takes no gradients
        lambda: diffusion.sample(batch_size=sizes.sample_batch).cpu(),
        prepare=lambda: in_one_step.sample(batch_size=sizes.sample_batch),
    )


def loader(sizes: Sizes) -> Work:
    """Batches of 128 decoded from PNG files by two processes, flipped at random."""
    folder = tempfile.TemporaryDirectory()
    data.write_files(pathlib.Path(folder.name), sizes.images // data.NUM_COPIES)
    files = Dataset(f"{folder.name}/train", image_size=32, exts=["png"], augment_horizontal_flip=True)
    batches = torch.utils.data.DataLoader(files, data.BATCH, shuffle=True, num_workers=data.WORKERS)
    stream = (batch for _ in itertools.count() for batch in batches)
    count = max(sizes.images // data.BATCH // 10, 1)

    def read() -> None:
        for _ in itertools.islice(stream, count):
            pass

    return Work(read, amount=count * data.BATCH, unit="images/s", close=folder.cleanup)


def frechet(sizes: Sizes) -> Work:
    """Means and covariances of features in one array, and their Frechet distance, as pytorch-fid computes them."""
    real, generated = (np.concatenate([*statistics.shards(seed, sizes.features, sizes.width)]) for seed in (1, 2))
    reference = real.mean(axis=0), np.cov(real, rowvar=False)
    del real
    return Work(lambda: calculate_frechet_distance(generated.mean(axis=0), np.cov(generated, rowvar=False), *reference))


def _diffusion(sizes: Sizes, sampling_steps: int = 1000) -> GaussianDiffusion:
    network = Unet(sizes.other_channels, dim_mults=sizes.multipliers)
    options = {"image_size": 32, "timesteps": 1000, "beta_schedule": "linear", "sampling_timesteps": sampling_steps}
    diffusion = GaussianDiffusion(network, **options).to(DEVICE)
    diffusion.is_ddim_sampling = sampling_steps < 1000
    return diffusion


ROWS: dict[str, Callable[..., Work]] = {
    "train_step": train_step,
    "forward": forward,
    "ddim": ddim,
    "loader": loader,
    "frechet": frechet,
}
