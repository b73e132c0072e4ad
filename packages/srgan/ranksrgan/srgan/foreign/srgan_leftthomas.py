"""SRGAN as the repository leftthomas/SRGAN has it, in its first version.

    block1 ─┬─ block2 .. block6 ── block7 ─ + ── block8 (up-samplers, conv) ── tanh
            └───────────────────────────────┘

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial
Network", CVPR 2017, with 5 residual blocks for the paper's 16 and one slope for all channels of a
PReLU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.parts import Part, Parts, Residual
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.network import convolution, count_keys, outputs_of
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel


class ResidualBlock(nn.Module):
    """x + bn2(conv2(prelu(bn1(conv1(x)))))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = convolution(features, features)
        self.bn1 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU()
        self.conv2 = convolution(features, features)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.prelu(self.bn1(self.conv1(x)))
        residual = self.bn2(self.conv2(residual))
        return x + residual


class Doubling(nn.Module):
    """Twice the size: convolution, pixel shuffle, PReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = convolution(features, 4 * features)
        self.shuffle = PixelShuffle(2)
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.prelu(self.shuffle(self.conv(x)))
        return doubled


class LeftThomasSRGAN(Generator):
    """734,092 parameters at 64 features and scale 4; tanh puts the result into [0, 1]."""

    architecture = "srgan_leftthomas"

    def __init__(self, features: int = 64, doublings: int = 2) -> None:
        super().__init__()
        self.options = {"features": features, "doublings": doublings}
        self._features, self._doublings = features, doublings
        self.block1 = nn.Sequential(convolution(3, features, 9), nn.PReLU())
        self.block2 = ResidualBlock(features)
        self.block3 = ResidualBlock(features)
        self.block4 = ResidualBlock(features)
        self.block5 = ResidualBlock(features)
        self.block6 = ResidualBlock(features)
        self.block7 = nn.Sequential(convolution(features, features), nn.PReLU())
        self.block8 = nn.Sequential(
            *(Doubling(features) for _ in range(doublings)), convolution(features, 3, 9)
        )

    @property
    def scale(self) -> int:
        return int(2**self._doublings)

    @property
    def receptive_field(self) -> int:
        """4 for block1, 2 for each of five blocks, 1 for block7, and 3 for block8 at any scale."""
        return 18

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self.scale)

    def parts(self) -> Parts:
        features, block_bytes = self._features, 4 * 6 * self._features
        blocks = (self.block2, self.block3, self.block4, self.block5, self.block6)
        trunk = (
            Part(self.block1, 4, features, block_bytes),
            Residual(
                (
                    *(Part(block, 2, features, block_bytes) for block in blocks),
                    Part(self.block7, 1, features, block_bytes),
                )
            ),
        )
        return Parts(trunk, Part(self.enlarge, 3, 3, self.bytes_per_pixel, self.scale))

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features = outputs_of(tensors, "block1.0")
        doublings = count_keys(tensors, r"block8\.\d+\.conv\.weight")
        if not (features and doublings and outputs_of(tensors, "block7.0")):
            return None
        return cls(features, doublings)

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.block1(x)
        for block in (self.block2, self.block3, self.block4, self.block5, self.block6, self.block7):
            y = block(y)
        return self.enlarge(first + y)

    def enlarge(self, features: Tensor) -> Tensor:
        """The trunk's feature maps to ``(N, 3, scale * H, scale * W)``."""
        enlarged: Tensor = self.block8(features)
        return (enlarged.tanh() + 1) / 2
