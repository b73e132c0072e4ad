"""Every discriminator that a generator may be trained against, one file per architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.srgan.discriminators.discriminator import Discriminator, Sides
from ranksrgan.srgan.discriminators.patch import PatchDiscriminator
from ranksrgan.srgan.discriminators.unet import UNetDiscriminator
from ranksrgan.srgan.discriminators.vgg import (
    VGG128Discriminator,
    VGG296Discriminator,
    VGGDiscriminator,
)
from ranksrgan.srgan.network_files import load_network, save_network

__all__ = [
    "DISCRIMINATORS",
    "READABLE",
    "Discriminator",
    "PatchDiscriminator",
    "Sides",
    "UNetDiscriminator",
    "VGG128Discriminator",
    "VGG296Discriminator",
    "VGGDiscriminator",
    "load_discriminator",
    "save_discriminator",
]

#: By the name in recipes and in our files' metadata.
DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "vgg": VGGDiscriminator,
    "vgg_128": VGG128Discriminator,
    "vgg_296": VGG296Discriminator,
    "patch": PatchDiscriminator,
    "unet": UNetDiscriminator,
}

#: By the names in files; those of the time when there was one discriminator call it otherwise.
READABLE: dict[str, type[Discriminator]] = {**DISCRIMINATORS, "vgg_discriminator": VGGDiscriminator}


def save_discriminator(path: Path, network: Discriminator, about: Mapping[str, Any]) -> None:
    """Write a discriminator as ``.safetensors``, so that another run can continue from it."""
    save_network(path, network, about)


def load_discriminator(path: Path) -> Discriminator:
    """Read a discriminator of any architecture.

    Args:
        path: ``.safetensors`` of ours, or ``.pth``/``.pt`` of the official RankSRGAN (both
            generations), ESRGAN, BasicSR, Real-ESRGAN or pix2pix.

    Raises:
        InvalidCheckpoint: see `load_network`.
    """
    return load_network(path, READABLE)
