"""ESRGAN's RRDBNet: residual blocks in residual dense blocks, nearest-neighbour upsampling.

    conv_first ─┬─ RRDB_trunk ── trunk_conv ─ + ── upconv1 ── upconv2 ── HRconv ── conv_last
                └─────────────────────────────┘

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCV-W 2018. Every
convolution is 3x3 with bias; LeakyReLU (0.2) follows the first four of a dense block, HRconv, and
upconv1 and upconv2, before each of which the size is doubled. Keys are those of the official
repository's second generation; those of its first, and of BasicSR, are renamed while they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generator import Generator, convolution, count_keys, outputs_of
from ranksrgan.srgan.parts import Part, Parts, Residual
from ranksrgan.srgan.tiling import bytes_per_pixel

_RESIDUAL_SCALING = 0.2

# Other generations' names and ours; the first pattern that a key begins with decides.
_RENAMED = (
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"RRDB_trunk.\1.RDB\2.conv\3."),
    (r"model\.1\.sub\.\d+\.(?=weight|bias)", "trunk_conv."),
    (r"model\.3\.", "upconv1."),
    (r"model\.6\.", "upconv2."),
    (r"model\.8\.", "HRconv."),
    (r"model\.10\.", "conv_last."),
    (r"body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2."),
    (r"conv_body\.", "trunk_conv."),
    (r"conv_up(\d)\.", r"upconv\1."),
    (r"conv_hr\.", "HRconv."),
)


class ResidualDenseBlock(nn.Module):
    """x plus 0.2 of the last of five convolutions, each of which sees all results before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = convolution(features, growth)
        self.conv2 = convolution(features + growth, growth)
        self.conv3 = convolution(features + 2 * growth, growth)
        self.conv4 = convolution(features + 3 * growth, growth)
        self.conv5 = convolution(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        # In bfloat16 the sum stays float32, and what the convolutions share need not be.
        seen = x.bfloat16() if self.conv1.weight.dtype == torch.bfloat16 else x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _leaky(conv(seen))), dim=1)
        residual: Tensor = self.conv5(seen)
        return x + _RESIDUAL_SCALING * residual


class RRDB(nn.Module):
    """x plus 0.2 of what three dense blocks make of it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = ResidualDenseBlock(features, growth)
        self.RDB2 = ResidualDenseBlock(features, growth)
        self.RDB3 = ResidualDenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.RDB3(self.RDB2(self.RDB1(x)))
        return x + _RESIDUAL_SCALING * residual


class RRDBNet(Generator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, 4 * H, 4 * W)``, not clamped.

    16,697,987 parameters at 64 features, 23 blocks and a growth of 32. A pixel depends on 349
    pixels to each side then: where memory wants an image in tiles, much is computed twice.

    Args:
        features: channels between the blocks.
        blocks: RRDBs.
        growth: channels that each convolution of a dense block adds.
    """

    architecture = "rrdbnet"

    def __init__(self, features: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        self._features, self._growth = features, growth
        self.conv_first = convolution(3, features)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.trunk_conv = convolution(features, features)
        self.upconv1 = convolution(features, features)
        self.upconv2 = convolution(features, features)
        self.HRconv = convolution(features, features)
        self.conv_last = convolution(features, 3)

    @property
    def scale(self) -> int:
        return 4

    @property
    def receptive_field(self) -> int:
        """Fifteen a block, one each for conv_first and trunk_conv, and two for what is larger."""
        return 15 * len(self.RRDB_trunk) + 4

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self.scale)

    @classmethod
    def fitting(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        features = outputs_of(tensors, "conv_first")
        blocks = count_keys(tensors, r"RRDB_trunk\.\d+\.RDB1\.conv1\.weight")
        growth = outputs_of(tensors, "RRDB_trunk.0.RDB1.conv1")
        return cls(features, blocks, growth) if features and blocks and growth else None

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {_modern(key): value for key, value in tensors.items()}

    def parts(self) -> Parts:
        features = self._features
        # Measured on the CPU: 3.4 kB at 64 features and a growth of 32, 3.1 kB at one of 16.
        trunk_bytes = 4 * (9 * features + 12 * self._growth)

        def part(module: nn.Module, reach: int) -> Part:
            return Part(module, reach, features, trunk_bytes)

        blocks = [
            Residual(tuple(part(dense, 5) for dense in block.children()), _RESIDUAL_SCALING)
            for block in self.RRDB_trunk
        ]
        trunk = (part(self.conv_first, 1), Residual((*blocks, part(self.trunk_conv, 1))))
        return Parts(trunk, Part(self.enlarge, 2, 3, self.bytes_per_pixel, self.scale))

    def forward(self, x: Tensor) -> Tensor:
        shallow: Tensor = self.conv_first(x)
        deep: Tensor = self.trunk_conv(self.RRDB_trunk(shallow))
        return self.enlarge(shallow + deep)

    def enlarge(self, features: Tensor) -> Tensor:
        """The trunk's feature maps ``(N, features, H, W)`` to ``(N, 3, 4 * H, 4 * W)``."""
        for upconv in (self.upconv1, self.upconv2):
            features = _leaky(upconv(F.interpolate(features, scale_factor=2, mode="nearest")))
        enlarged: Tensor = self.conv_last(_leaky(self.HRconv(features)))
        return enlarged


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _modern(key: str) -> str:
    for pattern, name in _RENAMED:
        if match := re.match(pattern, key):
            return match.expand(name) + key[match.end() :]
    return key
