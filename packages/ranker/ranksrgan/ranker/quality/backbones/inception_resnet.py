"""Inception-ResNet-v2 as far as the tenth Block35, under timm's names.

C. Szegedy et al., "Inception-v4, Inception-ResNet and the impact of residual connections on
learning", AAAI 2017. What lies behind is left out: the quality model that looks through this
network (`ranksrgan.ranker.quality.iqt`) goes no further.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = 10

#: Of a file of the whole network, what is not read.
LEFT_OUT = (
    *("mixed_6a.", "repeat_1.", "mixed_7a.", "repeat_2.", "block8.", "conv2d_7b."),
    *("classif.", "last_linear."),
)

_RESIDUAL = 0.17


class InceptionResNetV2(nn.Module):
    """Gives the outputs of mixed_5b and of every second Block35: six maps of one size.

    Args:
        width: channels of the first convolution, an even number; all others follow.

    Attributes:
        widths: the channels of each map, 320 at the full width of 32.
        min_side: of an image that leaves one position: 192 pixels leave 21 x 21, 256 leave 29 x 29.
    """

    min_side: ClassVar[int] = 27

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        unit = width // 2
        self.conv2d_1a = _Conv(3, 2 * unit, 3, stride=2)
        self.conv2d_2a = _Conv(2 * unit, 2 * unit, 3)
        self.conv2d_2b = _Conv(2 * unit, 4 * unit, 3, padding=1)
        self.conv2d_3b = _Conv(4 * unit, 5 * unit, 1)
        self.conv2d_4a = _Conv(5 * unit, 12 * unit, 3)
        self.mixed_5b = _Mixed5b(unit)
        self.repeat = nn.Sequential(*(_Block35(unit) for _ in range(BLOCKS)))
        self.widths = (20 * unit,) * (1 + BLOCKS // 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps, ``(N, C, h, w)`` each, for normalised ``(N, 3, H, W)``."""
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(images)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.conv2d_4a(self.conv2d_3b(x))
        x = self.mixed_5b(F.max_pool2d(x, 3, stride=2))
        found = [x]
        for number, block in enumerate(self.repeat, 1):
            x = block(x)
            if number % 2 == 0:
                found.append(x)
        return found


class _Conv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Mixed5b(nn.Module):
    def __init__(self, unit: int) -> None:
        super().__init__()
        inputs = 12 * unit
        self.branch0 = _Conv(inputs, 6 * unit, 1)
        self.branch1 = nn.Sequential(
            _Conv(inputs, 3 * unit, 1), _Conv(3 * unit, 4 * unit, 5, padding=2)
        )
        self.branch2 = nn.Sequential(
            _Conv(inputs, 4 * unit, 1),
            _Conv(4 * unit, 6 * unit, 3, padding=1),
            _Conv(6 * unit, 6 * unit, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
            _Conv(inputs, 4 * unit, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], 1)


class _Block35(nn.Module):
    def __init__(self, unit: int) -> None:
        super().__init__()
        inputs = 20 * unit
        self.branch0 = _Conv(inputs, 2 * unit, 1)
        self.branch1 = nn.Sequential(
            _Conv(inputs, 2 * unit, 1), _Conv(2 * unit, 2 * unit, 3, padding=1)
        )
        self.branch2 = nn.Sequential(
            _Conv(inputs, 2 * unit, 1),
            _Conv(2 * unit, 3 * unit, 3, padding=1),
            _Conv(3 * unit, 4 * unit, 3, padding=1),
        )
        self.conv2d = nn.Conv2d(8 * unit, inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.branch0(x), self.branch1(x), self.branch2(x)]
        return F.relu(x + _RESIDUAL * self.conv2d(torch.cat(branches, 1)))
