"""MSRResNet: the SRResNet of BasicSR and of the official SRResNet and SRGAN recipes.

    x ─┬─ conv_first ── body (blocks) ── upconv1 (─ upconv2) ── conv_hr ── conv_last ─ +
       └─────────────────────────── bilinear enlargement ──────────────────────────────┘

The blocks are SRResNet's. There is no skip around them; a bilinear enlargement is added to the
result instead, so that the network draws what that lacks. LeakyReLU (0.1) follows every other
convolution but the last. Keys are those of BasicSR; those of the official repository are renamed
while they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from ranksrgan.srgan.generators.convolutions import convolution_relu, convolution_shuffle
from ranksrgan.srgan.generators.enlargement import enlarge_by, filters
from ranksrgan.srgan.generators.generator import STEPS, Generator, picture
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.generators.srresnet import ResidualBlock, check_size, scale_of_shuffles
from ranksrgan.srgan.network import (
    convolution,
    count_keys,
    inverse,
    outputs_of,
    rename_layers,
    start_he,
)
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel

_OFFICIAL = {"body.{}.conv{}": "recon_trunk.{}.conv{}", "conv_hr": "HRconv"}

_SLOPE = 0.1


class MSRResNet(Generator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    1,517,571 parameters at 64 features, 16 blocks and scale 4. It starts like `SRResNet`: from He's
    normal distribution with bias 0, or a tenth of it in the blocks and conv_last; ``as_published``,
    a tenth everywhere.

    Args:
        features: channels inside.
        blocks: residual blocks.
        scale: 2, 3 or 4.
        as_published: start as the published code does.

    Raises:
        InvalidInput: no such scale, or a size below 1.
    """

    architecture = "msrresnet"
    base: Tensor

    def __init__(
        self, features: int = 64, blocks: int = 16, scale: int = 4, *, as_published: bool = False
    ) -> None:
        super().__init__()
        check_size(features, blocks, scale)
        self.options = {"features": features, "blocks": blocks, "scale": scale}
        self._features, self._blocks, self._scale = features, blocks, scale
        self.conv_first = convolution(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        factors = STEPS[scale]
        self.upconv1 = convolution(features, features * factors[0] ** 2)
        self.upconv2 = convolution(features, features * 4) if len(factors) > 1 else None
        self.shuffle = PixelShuffle(factors[0])
        self.conv_hr = convolution(features, features)
        self.conv_last = convolution(features, 3)
        self.register_buffer("base", filters("linear", scale), persistent=False)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                small = as_published or name.startswith(("body", "conv_last"))
                start_he(module, 0.1 if small else 1.0)

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Two a block, one each for conv_first and upconv1, one for all that follows."""
        return 2 * self._blocks + 3

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self._scale)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features, up = outputs_of(tensors, "conv_first"), outputs_of(tensors, "upconv1")
        blocks = count_keys(tensors, r"body\.\d+\.conv1\.weight")
        if not (features and up and blocks and outputs_of(tensors, "conv_hr")):
            return None
        scale = scale_of_shuffles(features, up, "upconv2.weight" in tensors)
        return cls(features, blocks, scale) if scale else None

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # SRResNet has these names too, and LRconv.
        if "LRconv.weight" in tensors:
            return dict(tensors)
        return rename_layers(tensors, inverse(_OFFICIAL))

    def original_names(self) -> dict[str, dict[str, str]]:
        return {"official": _OFFICIAL, "basicsr": {}}

    def forward(self, x: Tensor) -> Tensor:
        deep = self.body(convolution_relu(self.conv_first, x, _SLOPE))
        deep = convolution_shuffle(self.upconv1, self.shuffle, deep, _SLOPE)
        if self.upconv2 is not None:
            deep = convolution_shuffle(self.upconv2, self.shuffle, deep, _SLOPE)
        deep = convolution_relu(self.conv_hr, deep, _SLOPE)
        return picture(self.conv_last, deep) + enlarge_by(self.base, x)
