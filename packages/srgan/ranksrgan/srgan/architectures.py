"""Every generator that weights files may hold, and how a file finds its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ranksrgan.contracts.checkpoint import Weights, load_into, load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.srgan.foreign import FOREIGN
from ranksrgan.srgan.generator import Generator
from ranksrgan.srgan.rrdbnet import RRDBNet
from ranksrgan.srgan.srresnet import SRResNet

#: By the name in our files' metadata. Other files are tried in this order; no two fit one file.
ARCHITECTURES: dict[str, type[Generator]] = {
    "srresnet": SRResNet,
    "rrdbnet": RRDBNet,
    **FOREIGN,
}


def load_generator(path: Path) -> Generator:
    """Read a generator of any architecture.

    Args:
        path: ``.safetensors`` of ours, or ``.pth``/``.pt`` of another project: the architecture is
            then told by its keys and shapes.

    Raises:
        InvalidCheckpoint: damaged, unsafe, not a generator or of an unknown architecture.
    """
    weights = load_weights(path)
    if weights.kind not in (None, "generator"):
        raise InvalidCheckpoint(
            f"{path} holds a {weights.kind}; a generator is wanted here", field=str(path)
        )
    if weights.architecture not in (None, *ARCHITECTURES):
        raise InvalidCheckpoint(
            f"{path} holds the architecture {weights.architecture}; known are "
            f"{', '.join(ARCHITECTURES)}",
            field=str(path),
        )
    for name, architecture in ARCHITECTURES.items():
        if weights.architecture not in (None, name):
            continue
        tensors = architecture.modern_keys(weights.tensors)
        network = architecture.fitting(tensors)
        if network is not None:
            load_into(network, replace(weights, tensors=tensors))
            return network
    raise InvalidCheckpoint(
        f"{path} is no {weights.architecture or 'generator that is known here'} "
        f"({', '.join(ARCHITECTURES)}): {_contents(weights)}",
        field=str(path),
    )


def _contents(weights: Weights) -> str:
    first = [f"{key} {tuple(value.shape)}" for key, value in sorted(weights.tensors.items())[:3]]
    return f"it holds {len(weights.tensors)} tensors, beginning with {', '.join(first)}"
