"""IMDN in the simplified form of its authors' later toolbox: trained on pixels, fast.

    model.0 ─┬─ blocks ── conv ─ + ── model.2 ── shuffle
             └───────────────────┘

Each block distils: of the 64 channels that a convolution makes, 16 are kept and 48 go on. Hui et
al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.parts import Part, Parts, Residual
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.network import convolution, count_keys, outputs_of

_SLOPE = 0.05


class DistillationBlock(nn.Module):
    """Three times: keep a quarter of the channels, refine the rest. All quarters are joined."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.kept = features // 4
        self.rest = features - self.kept
        self.conv1 = _activated(features, features)
        self.conv2 = _activated(self.rest, features)
        self.conv3 = _activated(self.rest, features)
        self.conv4 = convolution(self.rest, self.kept)
        self.conv1x1 = convolution(4 * self.kept, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        quarters = []
        refined = x
        for conv in (self.conv1, self.conv2, self.conv3):
            quarter, refined = conv(refined).split((self.kept, self.rest), dim=1)
            quarters.append(quarter)
        quarters.append(self.conv4(refined))
        joined: Tensor = self.conv1x1(torch.cat(quarters, dim=1))
        return x + joined


class Shortcut(nn.Module):
    """x + sub(x)."""

    def __init__(self, sub: nn.Module) -> None:
        super().__init__()
        self.sub = sub

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.sub(x)
        return x + residual


class IMDN(Generator):
    """893,936 parameters at 64 features, 8 blocks and scale 4; the result is not clamped."""

    architecture = "imdn"

    def __init__(self, features: int = 64, blocks: int = 8, scale: int = 4) -> None:
        super().__init__()
        self.options = {"features": features, "blocks": blocks, "scale": scale}
        self._features, self._blocks, self._scale = features, blocks, scale
        trunk = [DistillationBlock(features) for _ in range(blocks)]
        self.model = nn.Sequential(
            convolution(3, features),
            Shortcut(nn.Sequential(*trunk, convolution(features, features))),
            convolution(features, 3 * scale**2),
            PixelShuffle(scale),
        )

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Four a block, and one for each of the other convolutions."""
        return 4 * self._blocks + 3

    @property
    def bytes_per_pixel(self) -> int:
        # Nothing is larger than the input until the last shuffle. Measured on the CPU: 2.6 kB.
        return 4 * (10 * self._features + 6 * self._scale**2)

    def parts(self) -> Parts:
        features, block_bytes = self._features, 4 * 6 * self._features
        first, body, last, _ = self.model
        *blocks, joining = body.get_submodule("sub").children()

        def enlarge(x: Tensor) -> Tensor:
            return nn.functional.pixel_shuffle(last(x), self._scale)

        trunk = (
            Part(first, 1, features, block_bytes),
            Residual(
                (
                    *(Part(block, 4, features, block_bytes) for block in blocks),
                    Part(joining, 1, features, block_bytes),
                )
            ),
        )
        return Parts(trunk, Part(enlarge, 1, 3, self.bytes_per_pixel, self._scale))

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features = outputs_of(tensors, "model.0")
        blocks = count_keys(tensors, r"model\.1\.sub\.\d+\.conv1x1\.weight")
        scale = math.isqrt(outputs_of(tensors, "model.2") // 3)
        if features % 4 or not (features and blocks and scale):
            return None
        return cls(features, blocks, scale)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.model(x)
        return enlarged


def _activated(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs), nn.LeakyReLU(_SLOPE, inplace=True))
