"""Real-ESRGAN's discriminator: a U-Net with spectral normalisation and a logit for every pixel.

    conv0 ── conv1 ── conv2 ── conv3 ── conv4 ─ + ── conv5 ─ + ── conv6 ─ + ── conv7, 8, 9
      │        │        └───────────────────────┘            │            │
      │        └─────────────────────────────────────────────┘            │
      └───────────────────────────────────────────────────────────────────┘

Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data",
ICCV-W 2021. conv1 to conv3 halve the size; in front of conv4 to conv6 it is doubled (bilinear).
Keys are those of BasicSR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from ranksrgan.srgan.discriminators.discriminator import Discriminator, Sides, check_width
from ranksrgan.srgan.network import outputs_of


class UNetDiscriminator(Discriminator):
    """``(N, 3, H, W)`` RGB in [0, 1], sides of multiples of 8, to ``(N, 1, H, W)`` logits.

    4,376,897 parameters at width 64. LeakyReLU 0.2 follows every convolution but the last. In
    training every pass takes one step of the power iteration that estimates the spectral norms.

    Args:
        width: channels of the first convolution; 64 is the published size.

    Raises:
        InvalidInput: a width below 1.
    """

    architecture = "unet"
    sides = Sides(8, multiple=8)

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        check_width(width)
        self.options = {"width": width}
        self.conv0 = nn.Conv2d(3, width, 3, 1, 1)
        self.conv1 = _normalised(width, 2 * width, 4)
        self.conv2 = _normalised(2 * width, 4 * width, 4)
        self.conv3 = _normalised(4 * width, 8 * width, 4)
        self.conv4 = _normalised(8 * width, 4 * width, 3)
        self.conv5 = _normalised(4 * width, 2 * width, 3)
        self.conv6 = _normalised(2 * width, width, 3)
        self.conv7 = _normalised(width, width, 3)
        self.conv8 = _normalised(width, width, 3)
        self.conv9 = nn.Conv2d(width, 1, 3, 1, 1)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        width = outputs_of(tensors, "conv0")
        spectral = "conv1.weight_orig" in tensors and outputs_of(tensors, "conv9")
        return cls(width) if width and spectral else None

    def original_names(self) -> dict[str, dict[str, str]]:
        return {"basicsr": {}}

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        x0 = _leaky(self.conv0(x))
        x1 = _leaky(self.conv1(x0))
        x2 = _leaky(self.conv2(x1))
        x3 = _leaky(self.conv3(x2))
        x4 = _leaky(self.conv4(_doubled(x3))) + x2
        x5 = _leaky(self.conv5(_doubled(x4))) + x1
        x6 = _leaky(self.conv6(_doubled(x5))) + x0
        logits: Tensor = self.conv9(_leaky(self.conv8(_leaky(self.conv7(x6)))))
        return logits


def _normalised(inputs: int, outputs: int, side: int) -> nn.Module:
    """A convolution of spectral norm 1; one of 4x4 halves the size."""
    # This form of the normalisation, and not torch's newer one, has the published keys.
    layer = nn.Conv2d(inputs, outputs, side, stride=2 if side == 4 else 1, padding=1, bias=False)
    normalised: nn.Module = spectral_norm(layer)
    return normalised


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
