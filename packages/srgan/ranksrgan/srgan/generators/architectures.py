"""Every generator that weights files may hold, and how a file finds its network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.srgan.foreign import FOREIGN
from ranksrgan.srgan.generators.edsr import EDSR
from ranksrgan.srgan.generators.fsrcnn import FSRCNN
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.msrresnet import MSRResNet
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet
from ranksrgan.srgan.network import Network
from ranksrgan.srgan.network_files import load_network, save_network
from ranksrgan.srgan.shipped import SHIPPED

#: Those that can be trained, by the name in recipes and in our files' metadata.
TRAINABLE: dict[str, type[Generator]] = {
    "srresnet": SRResNet,
    "msrresnet": MSRResNet,
    "rrdbnet": RRDBNet,
    "two_view_rrdbnet": TwoViewRRDBNet,
    "edsr": EDSR,
    "fsrcnn": FSRCNN,
}

#: Those that can be read.
ARCHITECTURES: dict[str, type[Generator]] = {**TRAINABLE, **FOREIGN}


def save_generator(path: Path, network: Generator, about: Mapping[str, Any]) -> None:
    """Write a generator as ``.safetensors``; ``about`` holds JSON values worth keeping with it."""
    save_network(path, network, about)


def load_generator(path: Path, scale: int | None = None) -> Generator:
    """Read a generator of any architecture.

    Args:
        path: ``.safetensors`` of ours, or ``.pth``/``.pt`` of another project: the architecture is
            then told by its keys and shapes. Or the name of a shipped generator (``srgan``).
        scale: of a ``.pth`` whose tensors leave it open (FSRCNN, RRDBNet with one upconv, and a
            two-view network, which is of scale 4 unless 1 is said).

    Raises:
        InvalidCheckpoint: damaged, unsafe, not a generator, of an unknown architecture, with
            unknown keys (which are listed), of another scale than ``scale``, or of one that nobody
            says.
        MissingAsset: see `ShippedWeights.path`.
    """
    path = SHIPPED.resolve(path)
    network = load_network(path, ARCHITECTURES, None if scale is None else {"scale": scale})
    require_scale(network, scale, path)
    return network


def require_scale(network: Network, scale: int | None, path: Path) -> None:
    """Refuse a network of another scale than is expected, if one is.

    Raises:
        InvalidCheckpoint: it is of another, or a discriminator.
    """
    found = network.scale if isinstance(network, Generator) else "none"
    if scale not in (None, found):
        raise InvalidCheckpoint(f"the scale of {path} is {found}, not {scale}", field=str(path))
