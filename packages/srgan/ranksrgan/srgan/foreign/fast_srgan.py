"""Fast-SRGAN, as the repository HasnainRaz/Fast-SRGAN has it in PyTorch.

    neck ─┬─ stem (blocks) ── bottleneck ─ + ── upsampling.0, .1 ── head ── tanh
          └────────────────────────────────┘

Its normalisation takes mean and deviation of each feature map from the image at hand, so that every
pixel of the result depends on every pixel of the image: the trunk is never tiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generators.generator import WholeImageGenerator
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.network import convolution, count_keys, outputs_of
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel


class InstanceNorm(nn.Module):
    """Each feature map of each image to mean 0 and variance 1 (eps 1e-5), without parameters.

    Torch's own refuses a map of a single pixel, which becomes 0 here.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[2:])


class ResidualBlock(nn.Module):
    """x + norm(conv2(relu1(norm(conv1(x)))))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = convolution(features, features, bias=False)
        self.relu1 = nn.PReLU()
        self.conv2 = convolution(features, features, bias=False)
        self.norm = InstanceNorm()

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.relu1(self.norm(self.conv1(x)))
        residual = self.norm(self.conv2(residual))
        return x + residual


class Doubling(nn.Module):
    """Twice the size: convolution, pixel shuffle, PReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = convolution(features, 4 * features)
        self.shuffle = PixelShuffle(2)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.relu(self.shuffle(self.conv(x)))
        return doubled


class FastSRGAN(WholeImageGenerator):
    """925,646 parameters at 64 features and 8 blocks; tanh puts the result into [0, 1]."""

    architecture = "fast_srgan"

    def __init__(self, features: int = 64, blocks: int = 8) -> None:
        super().__init__()
        self.options = {"features": features, "blocks": blocks}
        self._features = features
        self.neck = nn.Sequential(convolution(3, features), nn.PReLU())
        self.stem = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.bottleneck = nn.Sequential(convolution(features, features, bias=False), InstanceNorm())
        self.upsampling = nn.Sequential(Doubling(features), Doubling(features))
        self.head = nn.Sequential(convolution(features, 3), nn.Tanh())

    @property
    def scale(self) -> int:
        return 4

    @property
    def receptive_field(self) -> int:
        """Of `enlarge`: one for the first up-sampler, one for all that follows."""
        return 2

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self.scale)

    @property
    def trunk_bytes_per_pixel(self) -> int:
        return 4 * 7 * self._features  # measured on the CPU: 6.1

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features = outputs_of(tensors, "neck.0")
        blocks = count_keys(tensors, r"stem\.\d+\.conv1\.weight")
        if not (features and blocks and outputs_of(tensors, "bottleneck.0")):
            return None
        return cls(features, blocks)

    def trunk(self, x: Tensor) -> Tensor:
        first: Tensor = self.neck(2 * x - 1)
        deep: Tensor = self.bottleneck(self.stem(first))
        return first + deep

    def enlarge(self, features: Tensor) -> Tensor:
        enlarged: Tensor = self.head(self.upsampling(features))
        return (enlarged + 1) / 2
