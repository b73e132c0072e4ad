"""Which recognition networks there are, and how their published weights come in.

name                   first channels   maps (channels)                published weights
alexnet                64               64, 192, 384, 256, 256         torchvision
alexnet_blur           64               the same, without aliasing     torchvision's AlexNet
vgg16                  64               64, 128, 256, 512, 512         torchvision
vgg16_deep             64               3 of 512                       torchvision's VGG16
resnet18               64               64, 128, 256, 512              torchvision
resnet50               64               256, 512, 1024, 2048           torchvision
inception_resnet_v2    32               6 of 320                       timm
plain                  16               16, 32, 64, 64                 none: ours
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import load_into, load_weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.backbones import AlexNet, Vgg16
from ranksrgan.ranker.quality.backbones.blur_pool import blurred_maximum
from ranksrgan.ranker.quality.backbones.inception_resnet import LEFT_OUT, InceptionResNetV2
from ranksrgan.ranker.quality.backbones.plain import Plain
from ranksrgan.ranker.quality.backbones.resnet import ResNet
from ranksrgan.ranker.quality.memory import Memory

Network = AlexNet | Vgg16 | ResNet | InceptionResNetV2 | Plain

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class _Choice(NamedTuple):
    """How a network is made, its full width, what it takes for each pixel, and what of a published
    file it does not have.

    ``memory`` is that of a model which compares all maps of an image with those of its reference;
    ``kept`` are the bytes of the image's maps alone that are kept for a gradient.
    """

    build: Callable[[int], Network]
    width: int
    memory: Memory
    kept: int
    left_out: tuple[str, ...] = ()


class _DeepVgg16(Vgg16):
    """Looked at after conv4_2, conv4_3 and conv5_1, as `quality.egb` does."""

    taps = (20, 22, 25)

    def __init__(self, width: int) -> None:
        super().__init__(width=width)
        self.widths = (8 * width,) * 3


_CHOICES = {
    "alexnet": _Choice(
        lambda width: AlexNet(width=width), 64, Memory(300, 650), 100, ("classifier.",)
    ),
    "alexnet_blur": _Choice(
        lambda width: AlexNet(blurred_maximum, width), 64, Memory(300, 760), 150, ("classifier.",)
    ),
    "vgg16": _Choice(
        lambda width: Vgg16(width=width), 64, Memory(2650, 6100), 1740, ("classifier.",)
    ),
    "vgg16_deep": _Choice(_DeepVgg16, 64, Memory(830, 2600), 1700, ("classifier.",)),
    "resnet18": _Choice(partial(ResNet, 18), 64, Memory(340, 1000), 530, ("fc.",)),
    "resnet50": _Choice(partial(ResNet, 50), 64, Memory(850, 3600), 2000, ("fc.",)),
    "inception_resnet_v2": _Choice(InceptionResNetV2, 32, Memory(780, 2600), 1050, LEFT_OUT),
    "plain": _Choice(Plain, 16, Memory(420, 750), 120),
}

BACKBONES = tuple(_CHOICES)


class Backbone(nn.Module):
    """A recognition network that is shown images in [0, 1] and gives some of its feature maps.

    Args:
        name: one of `BACKBONES`.
        width: channels of the first layer, to which all others are in proportion; 0 is the full
            width, the only one that published weights fit.

    Raises:
        InvalidInput: no such network, or a width that it cannot have.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, width: int = 0) -> None:
        super().__init__()
        if name not in _CHOICES:
            raise InvalidInput(
                f"there is no backbone {name!r}: {', '.join(BACKBONES)} are there", field="backbone"
            )
        choice = _CHOICES[name]
        even = name == "inception_resnet_v2"
        if width < 0 or (even and width % 2):
            raise InvalidInput(
                f"the backbone {name} cannot be {width} channels wide: "
                f"{'an even number' if even else '1 or more'}, or 0 for its full {choice.width}",
                field="backbone_width",
            )
        self.name = name
        self.width = width or choice.width
        self.network = choice.build(self.width)
        self._frozen = False
        mean, std = _HALVES if even else _IMAGENET
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def share(self) -> float:
        """Its width in parts of the full one."""
        return self.width / _CHOICES[self.name].width

    @property
    def memory(self) -> Memory:
        """What a model takes, at full width, that compares all maps of an image and a reference."""
        return _CHOICES[self.name].memory

    @property
    def kept_bytes(self) -> float:
        """What a gradient keeps of the maps for each pixel of an image alone."""
        return max(1.0, self.share) * _CHOICES[self.name].kept

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each map."""
        return self.network.widths

    @property
    def min_side(self) -> int:
        """Of an image that leaves something of every map."""
        return self.network.min_side

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, ``(N, C, h, w)`` each, the finest first.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].

        Raises:
            ImageTooSmall: a side is below ``min_side``.
        """
        height, width = images.shape[-2:]
        if min(height, width) < self.min_side:
            raise ImageTooSmall(
                f"an image of {width} x {height} pixels is too small: {self.name} needs "
                f"{self.min_side} x {self.min_side}",
                field="images",
            )
        found: list[Tensor] = self.network((images - self.mean) / self.std)
        return found

    def shapes(self, side: int) -> list[tuple[int, int, int]]:
        """``(C, h, w)`` of each map of an image with such sides, found without computing them."""
        with torch.device("meta"), torch.no_grad():
            maps = _CHOICES[self.name].build(self.width)(torch.empty(2, 3, side, side))
        return [(found.shape[1], found.shape[2], found.shape[3]) for found in maps]

    def load(self, path: Path) -> None:
        """Load published weights: every tensor of the network, of the right shape.

        Args:
            path: ``.pth`` or ``.safetensors``, of the whole network or of the part there is here.

        Raises:
            InvalidCheckpoint: missing, damaged, unsafe, or of another network; lists the keys.
        """
        weights = load_weights(path)
        left_out = _CHOICES[self.name].left_out
        tensors = {k: v for k, v in weights.tensors.items() if not k.startswith(left_out)}
        load_into(self.network, replace(weights, tensors=tensors))

    def freeze(self, frozen: bool) -> None:
        """Whether training leaves it alone: no gradient to its weights, and BatchNorm as it was
        trained, whatever mode the model around it is in. What is thawed is in training mode."""
        self._frozen = frozen
        self.network.requires_grad_(not frozen)
        self.train(not frozen)

    def train(self, mode: bool = True) -> Self:
        """As ever, but frozen it stays in ``eval()``."""
        return super().train(mode and not self._frozen)
