"""Outputs and gradients of diffusers' UNet2DModel with our weights, and the goldens that `make test` reads.

python -m tests.peers.diffusers_unet      writes tests/networks/goldens/unet.npz and unet.json

Parameters, images and directions are drawn here, the same for both sides, and computed in float64. Of the gradient of
a weighted sum of the output, the goldens hold that in the images, and of every parameter two numbers: its norm, and its
product with a random direction.
"""

import json
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np

from diffax import networks
from diffax.conditions import Classes
from tests.peers import unet_weights

GOLDENS = pathlib.Path(__file__).parents[1] / "networks" / "goldens" / "unet"
SIDE, COLOURS, BATCH = 8, 3, 2
_SHARED: dict[str, Any] = {"groups": 4, "dtype": "float64"}
LAYOUTS = {
    # DDPM's: one head, attention at one resolution and in the middle, two blocks a level.
    "ddpm": networks.UNet(
        channels=8, channel_multipliers=(1, 2), num_res_blocks=2, attention_resolutions=(8,), **_SHARED
    ),
    # Three levels, attention at the two lower ones, of several heads.
    "heads": networks.UNet(
        channels=8,
        channel_multipliers=(1, 2, 2),
        num_res_blocks=1,
        attention_resolutions=(4, 2),
        head_channels=4,
        **_SHARED,
    ),
    # Improved DDPM's: scale and shift, with labels.
    "scale_shift": networks.UNet(
        channels=8,
        channel_multipliers=(1, 1),
        num_res_blocks=1,
        attention_resolutions=(8, 4),
        head_channels=4,
        scale_shift=True,
        conditions={"label": Classes(5)},
        **_SHARED,
    ),
}


class Inputs(NamedTuple):
    """What both sides are given: images and directions (batch, height, width, channels), times and labels."""

    params: dict[str, Any]
    directions: dict[str, np.ndarray]
    x: np.ndarray
    time: np.ndarray
    label: np.ndarray | None
    weights: np.ndarray  # of the output, in the sum whose gradient is taken


def inputs(name: str, shapes: Any) -> Inputs:
    """The inputs of a layout, drawn anew for every array by its name; shapes: the tree of our parameters' shapes."""
    unet = LAYOUTS[name]

    def drawn(what: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(f"{name}/{what}".encode())).standard_normal(shape)

    def param(path: str, shape: tuple[int, ...]) -> np.ndarray:
        values = drawn(path, shape)
        if path.endswith("scale"):
            return 1 + 0.3 * values
        # Large enough for attention that is far from even, and for every bias to matter.
        return 0.3 * values if path.endswith("bias") else 1.5 * values / np.sqrt(np.prod(shape[:-1]))

    images = (BATCH, SIDE, SIDE, COLOURS)
    flat = {path: leaf.shape for path, leaf in unet_weights.leaves(shapes)}
    return Inputs(
        params=nested({path: param(path, shape) for path, shape in flat.items()}),
        directions={path: drawn(f"{path}/direction", shape) for path, shape in flat.items()},
        x=drawn("x", images),
        time=np.array([3.0, 517.0]),
        label=None if not unet.conditions else np.array([4, 1], np.int32),
        weights=drawn("weights", images),
    )


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """A tree of arrays by their paths."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = value
    return tree


def model(name: str) -> Any:
    """Their network of a layout, in float64."""
    import diffusers

    unet = LAYOUTS[name]
    sides = unet_weights.heights(unet, SIDE)
    kinds = ["Attn" if side in unet.attention_resolutions else "" for side in sides]
    return diffusers.UNet2DModel(
        sample_size=SIDE,
        in_channels=COLOURS,
        out_channels=COLOURS,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        downsample_padding=0,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        block_out_channels=tuple(unet.channels * multiplier for multiplier in unet.channel_multipliers),
        layers_per_block=unet.num_res_blocks,
        attention_head_dim=unet.head_channels,
        norm_num_groups=unet.groups,
        attn_norm_num_groups=unet.groups,
        resnet_time_scale_shift="scale_shift" if unet.scale_shift else "default",
        num_class_embeds=None if not unet.conditions else unet.conditions["label"].num + 1,  # the null label has a row
    ).double()


def theirs(name: str, given: Inputs) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Their output, its gradient in x, and that in the parameters as a tree of ours."""
    import torch

    network = model(name)
    state = unet_weights.to_theirs(LAYOUTS[name], given.params)
    network.load_state_dict({key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in state.items()})
    x = torch.from_numpy(given.x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    label = None if given.label is None else torch.from_numpy(given.label)
    out = network(x, torch.from_numpy(given.time), class_labels=label).sample
    (out * torch.from_numpy(given.weights.transpose(0, 3, 1, 2).copy())).sum().backward()
    grads = {key: value.grad.numpy() for key, value in network.named_parameters()}
    tree = unet_weights.from_theirs(LAYOUTS[name], grads)
    return out.detach().numpy().transpose(0, 2, 3, 1), x.grad.numpy().transpose(0, 2, 3, 1), tree


def summary(grads: dict[str, Any], given: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Norms of the gradients of all parameters, by path, and their products with the directions."""
    flat = dict(unet_weights.leaves(grads))
    norms = np.array([np.linalg.norm(grad) for grad in flat.values()])
    return norms, np.array([np.vdot(grad, given.directions[path]) for path, grad in flat.items()])


def write() -> None:
    """Writes the goldens."""
    import diffusers
    import torch

    arrays = {}
    for name, unet in LAYOUTS.items():
        given = inputs(name, shapes_of(unet))
        out, x_grad, grads = theirs(name, given)
        norms, products = summary(grads, given)
        arrays |= {f"{name}/out": out, f"{name}/x_grad": x_grad, f"{name}/norms": norms, f"{name}/products": products}
        arrays[f"{name}/checksum"] = np.array(sum(np.abs(leaf).sum() for _, leaf in unet_weights.leaves(given.params)))
    GOLDENS.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDENS.with_suffix(".npz"), **arrays)
    provenance = {
        "made by": "python -m tests.peers.diffusers_unet",
        "diffusers": diffusers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "layouts": {name: str(unet) for name, unet in LAYOUTS.items()},
    }
    GOLDENS.with_suffix(".json").write_text(json.dumps(provenance, indent=1) + "\n")


def shapes_of(unet: networks.UNet) -> Any:
    """The tree of the shapes of our parameters."""
    import jax

    unet = unet.clone(dtype="float32")  # as parameters are
    return jax.eval_shape(lambda key: networks.Linen(unet).init(key, (SIDE, SIDE, COLOURS)), jax.random.key(0))


if __name__ == "__main__":
    write()
