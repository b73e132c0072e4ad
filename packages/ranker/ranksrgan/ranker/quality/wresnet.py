"""WResNet: quality as a weighted mean over patches, learnt from nothing.

The plainer of the two networks of S. Shi, Q. Bai, M. Cao, W. Xia, J. Wang, Y. Chen, Y. Yang,
"Region-adaptive deformable network for image quality assessment", CVPR Workshops 2021 (team
THUIIGROUP1919, fourth in NTIRE 2021); scores and weights of patches are those of WaDIQaM.

Published: layers, heads and dropout, 32 random patches in training, the mean squared error of the
opinion over the largest one. Our choice: Pearson's correlation beside the mean squared error of the
standardised opinion; pixels scaled to [-2, 2]; He's initial weights, a little smaller; heads that
begin with the difference of image and reference; and that the last patches of a row and of a column
overlap where the side of an image is no multiple of 32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.memory import IN_PARTS, Memory
from ranksrgan.ranker.quality.model import Learnt, QualityModel
from ranksrgan.ranker.quality.patches import at_random, grid

PATCH = 32

#: Of the first block, as published.
WIDTH = 64

# Patches that go through the blocks at a time, and their references: an image of 2^24 pixels has
# 16,384, whose maps would take gigabytes.
_AT_ONCE = 256

# The weight of a patch whose weight network says nothing.
_LEAST_WEIGHT = 1e-6


class WResNet(QualityModel):
    """14,889,410 parameters at width 64. In ``eval`` it looks at a grid of all patches.

    Args:
        width: channels of the first block.
        patches: random patches of each image in training.
        dropout: of the two heads, in training; narrow ones learn faster without.
    """

    architecture = "wresnet"
    memory = Memory(IN_PARTS, 5420)
    min_side = PATCH

    def __init__(self, width: int = WIDTH, patches: int = 32, dropout: float = 0.5) -> None:
        super().__init__(width=width, patches=patches, dropout=dropout)
        for name, value in (("width", width), ("patches", patches)):
            if value < 1:
                raise InvalidInput(f"{name} is {value}; at least 1 is wanted", field=name)
        if not 0 <= dropout < 1:
            raise InvalidInput(f"dropout is {dropout}; 0 to below 1 is wanted", field="dropout")
        self.patches = patches
        self._build(width)
        deepest = 8 * width
        self.score = _head(deepest, dropout)
        self.weight = _head(deepest, dropout)
        self.memory = self.memory.scaled(width / WIDTH)

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """See `QualityModel`."""
        return self._pooled(grid(images, PATCH), grid(references, PATCH))

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """See `QualityModel`."""
        return Learnt(self._pooled(*at_random(images, references, PATCH, self.patches)))

    def of_patches(self, patches: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Score and weight of each patch.

        Args:
            patches, references: ``(N, P, 3, 32, 32)`` both.

        Returns:
            ``(N, P)`` each; weights are above 0.
        """
        image, reference = self.features(patches, references)
        fused = torch.cat([image - reference, image, reference], dim=-1)
        scores = self.score(fused).squeeze(-1)
        return scores, F.relu(self.weight(fused).squeeze(-1)) + _LEAST_WEIGHT

    def features(self, patches: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, P, 8 width)`` of each patch and of each reference."""
        image, reference = self.each(patches.flatten(0, 1), references.flatten(0, 1))
        shape = (*patches.shape[:2], -1)
        return image.reshape(shape), reference.reshape(shape)

    def each(self, patches: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """``(N, 8 width)`` of each patch and of each reference, ``(N, 3, 32, 32)`` both, some at a
        time."""
        found = [
            self.pool(self.deepest(scaled(torch.cat(pair)))).flatten(1).chunk(2)
            for pair in zip(
                torch.split(patches, _AT_ONCE), torch.split(references, _AT_ONCE), strict=True
            )
        ]
        image, reference = zip(*found, strict=True)
        return torch.cat(image), torch.cat(reference)

    def deepest(self, both: Tensor) -> Tensor:
        """The maps of patches and of their references behind them, ``(2 N, 3, 32, 32)``."""
        maps: Tensor = self.blocks(both)
        return maps

    def _build(self, width: int) -> None:
        self.blocks = nn.Sequential(
            Block(3, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            Block(4 * width, 4 * width, 2),
            Block(4 * width, 8 * width, 2),
        )
        self.pool = nn.AvgPool2d(2)

    def _pooled(self, patches: Tensor, references: Tensor) -> Tensor:
        scores, weights = self.of_patches(patches, references)
        return (scores * weights).sum(1) / weights.sum(1)


class Block(nn.Module):
    """Four 3 x 3 convolutions, each with a ReLU; what comes out of the first is added to the end.

    Args:
        inputs, channels: before and after.
        stride: of the first convolution.
    """

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, channels, stride)
        self.rest = nn.ModuleList(convolution(channels, channels, 1) for _ in range(3))

    def forward(self, features: Tensor) -> Tensor:
        start = F.relu(self.first(features))
        found = start
        for layer in self.rest:
            found = F.relu(layer(found))
        return found + start


def convolution(inputs: int, channels: int, stride: int) -> nn.Conv2d:
    """A 3 x 3 convolution with He's initial weights.

    Our choice: without normalisation PyTorch's own would lose the signal on its way through twenty
    layers. They are scaled down a little since the skip connection adds variance in each block.
    """
    layer = nn.Conv2d(inputs, channels, 3, stride, padding=1)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.get_parameter("bias"))
    with torch.no_grad():
        layer.weight.mul_(2**-0.125)
    return layer


def scaled(images: Tensor) -> Tensor:
    """From [0, 1] to [-2, 2], our choice: about the mean 0 and the deviation 1 of photographs."""
    return (images - 0.5) * 4


def _head(channels: int, dropout: float) -> nn.Sequential:
    """A number by the difference of the features of image and reference, and by both.

    The difference of two images that look alike is far smaller than what they show. With equal
    initial weights a training would spend its beginning on the latter, so they are not equal: 4 and
    0.1 times PyTorch's own are our choice.
    """
    first = nn.Linear(3 * channels, channels)
    with torch.no_grad():
        first.weight[:, :channels] *= 4.0
        first.weight[:, channels:] *= 0.1
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(dropout), nn.Linear(channels, 1))
