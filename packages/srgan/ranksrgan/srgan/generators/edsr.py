"""EDSR: SRResNet without normalisation, and with nothing but a convolution after the shuffles.

    conv_first ─┬─ body (blocks) ── conv_after_body ─ + ── upsample ── conv_last
                └─────────────────────────────────────┘

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR-W 2017. Its
numbers are 255 times ours, less the mean colour of DIV2K; both are undone at the end. Keys are
those of BasicSR; those of the official repository, where the mean is a convolution with fixed
weights at each end, are renamed while they are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.convolutions import (
    convolution_add,
    convolution_relu,
    convolution_shuffle,
)
from ranksrgan.srgan.generators.generator import STEPS, Generator, picture
from ranksrgan.srgan.generators.parts import Part, Parts
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.generators.srresnet import check_size, residual_parts, scale_of_shuffles
from ranksrgan.srgan.network import (
    convolution,
    count_keys,
    inverse,
    outputs_of,
    rename_layers,
    said_number,
)
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel

_MEAN = (0.4488, 0.4371, 0.4040)
_RANGE = 255.0


class ResidualBlock(nn.Module):
    """x + scaling * conv2(relu(conv1(x)))."""

    def __init__(self, features: int, scaling: float) -> None:
        super().__init__()
        self.conv1 = convolution(features, features)
        self.conv2 = convolution(features, features)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        return convolution_add(self.conv2, convolution_relu(self.conv1, x), x, self.scaling)


class EDSR(Generator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    EDSR-baseline by default: 64 features and 16 blocks, 1,517,571 parameters at scale 4. The full
    EDSR has 256 features, 32 blocks and a residual scaling of 0.1.

    Args:
        features: channels inside.
        blocks: residual blocks.
        scale: 2, 3 or 4.
        residual_scaling: of each block's residual; by default the published one, which is 0.1 from
            256 features on and 1 below.

    Raises:
        InvalidInput: no such scale, a size below 1, or a scaling that is not positive.
    """

    architecture = "edsr"
    mean: Tensor

    def __init__(
        self,
        features: int = 64,
        blocks: int = 16,
        scale: int = 4,
        residual_scaling: float | None = None,
    ) -> None:
        super().__init__()
        check_size(features, blocks, scale)
        if residual_scaling is None:
            residual_scaling = 0.1 if features >= 256 else 1.0
        if not 0 < residual_scaling < math.inf:
            raise InvalidInput(
                f"residual_scaling is {residual_scaling}; it is a number above 0",
                field="residual_scaling",
            )
        self.options = {
            "features": features,
            "blocks": blocks,
            "scale": scale,
            "residual_scaling": residual_scaling,
        }
        self._features, self._blocks, self._scale = features, blocks, scale
        self.conv_first = convolution(3, features)
        self.body = nn.Sequential(
            *(ResidualBlock(features, residual_scaling) for _ in range(blocks))
        )
        self.conv_after_body = convolution(features, features)
        self.upsample = nn.Sequential()
        for factor in STEPS[scale]:
            self.upsample.append(convolution(features, features * factor**2))
            self.upsample.append(PixelShuffle(factor))
        self.conv_last = convolution(features, 3)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Two a block; one for each of conv_first, conv_after_body, upsample.0 and the rest."""
        return 2 * self._blocks + 4

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self._scale)

    def parts(self) -> Parts:
        enlarge = Part(self.enlarge, 2, 3, self.bytes_per_pixel, self._scale)
        return residual_parts(self.shallow, self.body, self.conv_after_body, enlarge)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features, up = outputs_of(tensors, "conv_first"), outputs_of(tensors, "upsample.0")
        blocks = count_keys(tensors, r"body\.\d+\.conv1\.weight")
        if not (features and up and blocks and outputs_of(tensors, "conv_after_body")):
            return None
        scale = scale_of_shuffles(features, up, "upsample.2.weight" in tensors)
        scaling = said_number(said, "residual_scaling")
        return cls(features, blocks, scale, scaling) if scale else None

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the official keys. Fixed convolutions that shift as published are left out."""
        if "head.0.weight" not in tensors:
            return dict(tensors)
        fixed = _mean_shifts()
        learnt = {
            key: value
            for key, value in tensors.items()
            if not (key in fixed and _alike(value, fixed[key]))
        }
        return rename_layers(learnt, inverse(_official("{}")))

    def original_names(self) -> dict[str, dict[str, str]]:
        return {"official": _official(str(self._blocks)), "basicsr": {}}

    def original_state(self, form: str) -> dict[str, Any]:
        state = super().original_state(form)
        return {**_mean_shifts(), **state} if form == "official" else state

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.shallow(x)
        return self.enlarge(shallow + self.conv_after_body(self.body(shallow)))

    def shallow(self, x: Tensor) -> Tensor:
        """The picture in the network's numbers, and what the first convolution makes of it."""
        features: Tensor = self.conv_first((x - self.mean) * _RANGE)
        return features

    def enlarge(self, deep: Tensor) -> Tensor:
        """The body's feature maps ``(N, features, H, W)`` to ``(N, 3, scale * H, scale * W)``."""
        for number in range(0, len(self.upsample), 2):
            layer, shuffle = self.upsample[number], self.upsample[number + 1]
            deep = convolution_shuffle(
                cast("nn.Conv2d", layer), cast("PixelShuffle", shuffle), deep
            )
        return picture(self.conv_last, deep) / _RANGE + self.mean


def _official(blocks: str) -> dict[str, str]:
    return {
        "conv_first": "head.0",
        "body.{}.conv1": "body.{}.body.0",
        "body.{}.conv2": "body.{}.body.2",
        "conv_after_body": f"body.{blocks}",
        "upsample.{}": "tail.0.{}",
        "conv_last": "tail.1",
    }


def _mean_shifts() -> dict[str, Tensor]:
    """The official network's first and last layers: the identity, less or plus the mean colour."""
    mean, identity = _RANGE * torch.tensor(_MEAN), torch.eye(3).view(3, 3, 1, 1)
    return {
        "sub_mean.weight": identity,
        "sub_mean.bias": -mean,
        "add_mean.weight": identity.clone(),
        "add_mean.bias": mean,
    }


def _alike(value: Tensor, wanted: Tensor) -> bool:
    return value.shape == wanted.shape and torch.allclose(value.float(), wanted, rtol=1e-4, atol=0)
