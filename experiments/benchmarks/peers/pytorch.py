"""What the rows of both PyTorch libraries share: the training step, sampling, checkpoints and the ceilings."""

import functools
import os
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import torch

from experiments.benchmarks.peers.sizes import Sizes, Work

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device() -> str:
    """The device that computes."""
    return torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def device_memory() -> float | None:
    """The largest memory in use on an accelerator; None on the CPU."""
    return float(torch.cuda.max_memory_allocated()) if DEVICE.type == "cuda" else None


def finished(_: Any) -> None:
    """Waits for the device, whatever the last call returned."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def autocast(dtype: str) -> torch.autocast:
    """The context in which the network computes."""
    return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


def optimized(
    network: torch.nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], average: Callable[[], None], sizes: Sizes
) -> Work:
    """A training step: loss, gradient, clipping to norm 1, Adam, and the average."""
    adam = torch.optim.Adam(network.parameters(), lr=2e-4)
    images = torch.randn(sizes.batch, 3, 32, 32, device=DEVICE)
    images = images.contiguous(memory_format=_memory_format(network))

    def step() -> None:
        adam.zero_grad()
        loss(images).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        average()

    return Work(step, finish=finished, parameters=sum(parameter.numel() for parameter in network.parameters()))


def checkpoint(network: torch.nn.Module, restore: bool) -> Work:
    """Parameters, Adam's moments and an average by torch.save and torch.load, written through to the disk."""
    adam, average = torch.optim.Adam(network.parameters()), {k: v.clone() for k, v in network.state_dict().items()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / "state.pt"

    def save() -> None:
        with open(path, "wb") as file:
            torch.save({"model": network.state_dict(), "optimizer": adam.state_dict(), "ema": average}, file)
            os.fsync(file.fileno())

    def read() -> None:
        stored = torch.load(path, map_location=DEVICE)
        network.load_state_dict(stored["model"])
        adam.load_state_dict(stored["optimizer"])

    save()
    return Work(read if restore else save, close=folder.cleanup)


def matrix_product(sizes: Sizes, dtype: str = "float32") -> Work:
    """The ceiling of a matrix product."""
    matrix = torch.randn(sizes.matrix, sizes.matrix, dtype=getattr(torch, dtype), device=DEVICE)
    return Work(lambda: matrix @ matrix, finish=finished, amount=2.0 * sizes.matrix**3, unit="FLOP/s")


def convolution(sizes: Sizes, dtype: str = "float32") -> Work:
    """The ceiling of a 3x3 convolution of 128 channels at 32 x 32."""
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": DEVICE}
    x, kernel = torch.randn(sizes.batch, 128, 32, 32, **options), torch.randn(128, 128, 3, 3, **options)
    amount = 2.0 * sizes.batch * 32**2 * 9 * 128**2
    padded = functools.partial(torch.nn.functional.conv2d, x, kernel, padding=1)
    return Work(padded, finish=finished, amount=amount, unit="FLOP/s")


def copy(sizes: Sizes) -> Work:
    """The ceiling of reading and writing memory: x + 1."""
    x = torch.ones(sizes.megabytes * 250_000, device=DEVICE)
    return Work(lambda: x + 1, finish=finished, amount=2.0 * x.nbytes, unit="B/s")


def _memory_format(network: torch.nn.Module) -> torch.memory_format:
    kernels = [parameter for parameter in network.parameters() if parameter.ndim == 4]
    last = all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    return torch.channels_last if last else torch.contiguous_format
