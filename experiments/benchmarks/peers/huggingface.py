"""The rows of diffusers: UNet2DModel of DDPM's CIFAR-10 network, its schedulers and pipelines."""

from collections.abc import Callable

import diffusers
import torch
from diffusers.training_utils import EMAModel

from experiments.benchmarks.peers import pytorch
from experiments.benchmarks.peers.pytorch import DEVICE, device, device_memory
from experiments.benchmarks.peers.sizes import Sizes, Work

__all__ = ["ROWS", "device", "device_memory"]


def train_step(sizes: Sizes, dtype: str = "float32", compiled: bool = False, channels_last: bool = False) -> Work:
    """The step of diffusers' script for unconditional training, with Adam, clipping and the EMA."""
    network = _network(sizes, channels_last)
    called = torch.compile(network) if compiled else network
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000)
    average = EMAModel(network.parameters(), decay=0.9999)

    def loss(images: torch.Tensor) -> torch.Tensor:
        noise, t = torch.randn_like(images), torch.randint(0, 1000, (len(images),), device=DEVICE)
        with pytorch.autocast(dtype):
            prediction = called(scheduler.add_noise(images, noise, t), t).sample
        return torch.nn.functional.mse_loss(prediction.float(), noise)

    return pytorch.optimized(network, loss, lambda: average.step(network.parameters()), sizes)


def forward(sizes: Sizes, dtype: str = "float32", compiled: bool = False, channels_last: bool = False) -> Work:
    """The network's prediction for a batch."""
    network = _network(sizes, channels_last)
    called = torch.compile(network) if compiled else network
    x, t = torch.ones(sizes.batch, 3, 32, 32, device=DEVICE), torch.full((sizes.batch,), 500, device=DEVICE)

    @torch.no_grad()
    def call() -> None:
        with pytorch.autocast(dtype):
            called(x, t)

    return Work(call, finish=pytorch.finished)


def ddim(sizes: Sizes) -> Work:
    """Samples by DDIMPipeline."""
    return _sampling(sizes, diffusers.DDIMPipeline, diffusers.DDIMScheduler, sizes.steps_few)


def ddpm(sizes: Sizes) -> Work:
    """Samples by DDPMPipeline."""
    return _sampling(sizes, diffusers.DDPMPipeline, diffusers.DDPMScheduler, sizes.steps_all)


def checkpoint(sizes: Sizes, restore: bool = False) -> Work:
    """A checkpoint of parameters, Adam's moments and the EMA, until it is written or read."""
    return pytorch.checkpoint(_network(sizes), restore)


def _sampling(sizes: Sizes, pipeline: type, scheduler: type, num_steps: int) -> Work:
    sampler = pipeline(unet=_network(sizes), scheduler=scheduler(num_train_timesteps=1000)).to(DEVICE)
    sampler.set_progress_bar_config(disable=True)
    options = {"batch_size": sizes.sample_batch, "output_type": "np"}
    return Work(
        lambda: sampler(num_inference_steps=num_steps, **options),
        prepare=lambda: sampler(num_inference_steps=1, **options),
    )


def _network(sizes: Sizes, channels_last: bool = False) -> torch.nn.Module:
    """The network of configs/cifar_ddpm.py, as in google/ddpm-cifar10-32."""
    kinds = ["Attn" if 32 // 2**level == 16 else "" for level in range(len(sizes.multipliers))]
    network = diffusers.UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        downsample_padding=0,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        block_out_channels=tuple(multiple * sizes.channels for multiple in sizes.multipliers),
        layers_per_block=sizes.blocks,
        attention_head_dim=None,
    ).to(DEVICE)
    return network.to(memory_format=torch.channels_last) if channels_last else network


ROWS: dict[str, Callable[..., Work]] = {
    "train_step": train_step,
    "forward": forward,
    "ddim": ddim,
    "ddpm": ddpm,
    "checkpoint": checkpoint,
    "matrix_product": pytorch.matrix_product,
    "convolution": pytorch.convolution,
    "copy": pytorch.copy,
}
