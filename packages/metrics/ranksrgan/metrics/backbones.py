"""The recognition networks that perceptual metrics look through: AlexNet, SqueezeNet and VGG16.

Only the convolutional part, under torchvision's names (``features.N.weight``), so that its
published weights load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import load_into, load_weights

_FEATURES = "features."


class Backbone(nn.Module):
    """A chain of layers, some of whose outputs are looked at.

    Attributes:
        taps: the layers that are looked at, by their number in ``features``.
        widths: the channels of each.
        min_side: of an image for which every layer has an output.
    """

    taps: ClassVar[tuple[int, ...]]
    widths: tuple[int, ...]
    min_side: ClassVar[int]
    features: nn.Sequential

    def forward(self, images: Tensor) -> list[Tensor]:
        """The outputs of the taps, ``(N, C, h, w)`` each, for ``(N, 3, H, W)``."""
        found = []
        for number, layer in enumerate(self.features):
            images = layer(images)
            if number in self.taps:
                found.append(images)
        return found


Network = TypeVar("Network", bound=Backbone)


def load_backbone(network: Network, path: Path) -> Network:
    """Load torchvision's weights and freeze the network.

    Args:
        network: to load into.
        path: ``.pth`` or ``.safetensors``, with or without the classifier, which is left out.

    Raises:
        InvalidCheckpoint: missing, damaged, unsafe, or of another network.
    """
    weights = load_weights(path)
    tensors = {key: value for key, value in weights.tensors.items() if key.startswith(_FEATURES)}
    load_into(network, replace(weights, tensors=tensors))
    network.requires_grad_(False)
    return network


class AlexNet(Backbone):
    """A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

    Args:
        pool: makes the layer that halves so many channels; the published one takes maxima.
        width: channels of the first layer; all others follow.
    """

    taps = (1, 4, 7, 9, 11)  # after each ReLU
    widths: tuple[int, ...] = (64, 192, 384, 256, 256)
    min_side = 31

    def __init__(
        self,
        pool: Callable[[int], nn.Module] = lambda channels: nn.MaxPool2d(3, stride=2),
        width: int = 64,
    ) -> None:
        super().__init__()
        self.widths = (width, 3 * width, 6 * width, 4 * width, 4 * width)
        first, second, third, fourth, fifth = self.widths
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            pool(first),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(inplace=True),
            pool(second),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(third, fourth, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(fourth, fifth, 3, padding=1),
            nn.ReLU(inplace=True),
        )


class SqueezeNet(Backbone):
    """F. N. Iandola et al., "SqueezeNet", 2016, in version 1.1."""

    taps = (1, 4, 7, 9, 10, 11, 12)
    widths = (64, 128, 256, 384, 384, 512, 512)
    min_side = 17

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(64, 16, 64),
            _Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(128, 32, 128),
            _Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            _Fire(256, 48, 192),
            _Fire(384, 48, 192),
            _Fire(384, 64, 256),
            _Fire(512, 64, 256),
        )


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1).relu_()


class Vgg16(Backbone):
    """K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015, up to conv5_3.

    Args:
        pool: makes the layer that halves so many channels; the published one takes maxima.
        width: channels of the first block; all others follow.
    """

    taps: ClassVar[tuple[int, ...]] = (3, 8, 15, 22, 29)  # after the last ReLU of each block
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    min_side = 16

    def __init__(
        self,
        pool: Callable[[int], nn.Module] = lambda channels: nn.MaxPool2d(2),
        width: int = 64,
    ) -> None:
        super().__init__()
        self.widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        layers: list[nn.Module] = []
        channels = 3
        for block, (wider, depth) in enumerate(zip(self.widths, (2, 2, 3, 3, 3), strict=True)):
            if block:
                layers.append(pool(channels))
            for _ in range(depth):
                layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU(inplace=True)]
                channels = wider
        self.features = nn.Sequential(*layers)
