"""ESRGAN's RRDBNet: residual blocks in residual dense blocks, nearest-neighbour upsampling.

    conv_first ─┬─ RRDB_trunk ── trunk_conv ─ + ── upconv1 ── upconv2 ── HRconv ── conv_last
                └─────────────────────────────┘

Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCV-W 2018. Every
convolution is 3x3 with bias; LeakyReLU (0.2) follows the first four of a dense block, HRconv, and
upconv1 and upconv2, before each of which the size is doubled. Keys are those of the official
repository's second generation; those of its first, and of BasicSR, are renamed while they are read.

Other scales than 4 come in two forms. ESRGAN's first generation has a single upconv, at twice or
three times the size. Real-ESRGAN keeps both and gives the network a smaller image: every 2 x 2
pixels (for scale 2) or 4 x 4 (for scale 1) become the channels of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.generators.convolutions import convolution_add, convolution_relu
from ranksrgan.srgan.generators.generator import STEPS, WholeImageGenerator, picture
from ranksrgan.srgan.generators.parts import Part, Parts, Residual, fold
from ranksrgan.srgan.generators.srresnet import tail_numbers
from ranksrgan.srgan.generators.winograd import WinogradConvolution
from ranksrgan.srgan.network import (
    convolution,
    count_keys,
    inverse,
    outputs_of,
    rename_layers,
    said_number,
    start_he,
)
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel

_RESIDUAL_SCALING = 0.2
#: Of every LeakyReLU.
SLOPE = 0.2

# Scale, and by how much the image is folded into channels before; the first of a scale is default.
_FORMS = ((4, 1), (3, 1), (2, 2), (2, 1), (1, 4))

#: A layer that a network has which goes on behind an RRDBNet's last (`TwoViewRRDBNet`).
PROJECTOR_KEY = "branch1.0.conv"

_BASICSR = {
    "RRDB_trunk.{}.RDB{}.conv{}": "body.{}.rdb{}.conv{}",
    "trunk_conv": "conv_body",
    "upconv{}": "conv_up{}",
    "HRconv": "conv_hr",
}


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
        growing = (self.conv1, self.conv2, self.conv3, self.conv4)
        writing = [conv for conv in growing if isinstance(conv, WinogradConvolution)]
        if len(writing) == len(growing):
            return convolution_add(self.conv5, _grow(x, writing), x, _RESIDUAL_SCALING)
        # In bfloat16 the sum stays float32, and what the convolutions share need not be.
        seen = x.bfloat16() if self.conv1.weight.dtype == torch.bfloat16 else x
        for conv in growing:
            seen = torch.cat((seen, convolution_relu(conv, seen, SLOPE)), dim=1)
        return convolution_add(self.conv5, seen, x, _RESIDUAL_SCALING)


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


class RRDBNet(WholeImageGenerator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    16,697,987 parameters at 64 features, 23 blocks, a growth of 32 and scale 4. A pixel of its
    trunk depends on 347 pixels to each side then, so images are computed whole where their maps fit
    into memory, and in tiles with such a halo only where they do not.

    Trunk and `enlarge` see the folded image: their pixels are its squares, and so are those of
    `receptive_field`, `bytes_per_pixel` and `trunk_bytes_per_pixel`.

    Convolutions of the dense blocks start from a tenth of He's normal distribution, as published;
    the others from the framework's default.

    Args:
        features: channels between the blocks.
        blocks: RRDBs.
        growth: channels that each convolution of a dense block adds.
        scale: 1, 2, 3 or 4.
        unshuffle: side of the squares of pixels that become channels, 1, 2 or 4; by default as
            Real-ESRGAN has it: 2 for scale 2, 4 for scale 1, else 1. A side of the image that it
            does not divide is continued by its last pixels, and so are its results, which are cut
            off in the end.

    Raises:
        InvalidInput: a size below 1, or a scale and ``unshuffle`` that nobody published.
    """

    architecture = "rrdbnet"

    def __init__(
        self,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        scale: int = 4,
        unshuffle: int | None = None,
    ) -> None:
        super().__init__()
        if unshuffle is None:
            unshuffle = dict(reversed(_FORMS)).get(scale, 1)
        if (scale, unshuffle) not in _FORMS:
            raise InvalidInput(
                f"scale {scale} with an unshuffle of {unshuffle}; there are "
                f"{', '.join(f'{s} with {u}' for s, u in _FORMS)}",
                field="scale",
            )
        if min(features, blocks, growth) < 1:
            raise InvalidInput(
                f"{features} features, {blocks} blocks and a growth of {growth}: each is at least "
                "1",
                field="features",
            )
        self.options = {
            "features": features,
            "blocks": blocks,
            "growth": growth,
            "scale": scale,
            "unshuffle": unshuffle,
        }
        self._features, self._blocks, self._growth = features, blocks, growth
        self._scale, self._unshuffle = scale, unshuffle
        self.conv_first = convolution(3 * unshuffle**2, features)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.trunk_conv = convolution(features, features)
        self._steps: tuple[int, ...] = STEPS[scale * unshuffle]
        self.upconv1 = convolution(features, features)
        self.upconv2 = convolution(features, features) if len(self._steps) > 1 else None
        self.HRconv = convolution(features, features)
        self.conv_last = convolution(features, 3)
        for module in self.RRDB_trunk.modules():
            if isinstance(module, nn.Conv2d):
                start_he(module, 0.1)

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Of `enlarge`, in pixels of the trunk, which may be squares of the image's: what reaches
        some pixels at the enlarged sizes reaches less there.
        """
        return 1 if self._scale == 3 else 2

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self._scale * self._unshuffle)

    @property
    def trunk_bytes_per_pixel(self) -> int:
        # Measured on the CPU: 3.4 kB at 64 features and a growth of 32, 3.1 kB at one of 16.
        return 4 * (9 * self._features + 12 * self._growth)

    def parts(self) -> Parts:
        def part(module: nn.Module, reach: int) -> Part:
            return Part(module, reach, self._features, self.trunk_bytes_per_pixel)

        blocks = [
            Residual(tuple(part(dense, 5) for dense in block.children()), _RESIDUAL_SCALING)
            for block in self.RRDB_trunk
        ]
        trunk = (part(self.conv_first, 1), Residual((*blocks, part(self.trunk_conv, 1))))
        scale = self._scale * self._unshuffle
        enlarge = Part(self.enlarge, self.receptive_field, 3, self.bytes_per_pixel, scale)
        return Parts(trunk, enlarge, self._unshuffle)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        sizes = trunk_sizes(tensors)
        if sizes is None or outputs_of(tensors, PROJECTOR_KEY):
            return None
        unshuffle = {12: 2, 48: 4}.get(tensors["conv_first.weight"].shape[1], 1)
        scale = 4 // unshuffle
        if unshuffle == 1 and "upconv2.weight" not in tensors:
            stated = said_number(said, "scale")
            if stated is None:
                raise InvalidCheckpoint(
                    "an RRDBNet with one upconv is of scale 2 or 3, with weights of the same "
                    "shapes: convert the file and say which",
                    field="scale",
                )
            scale = int(stated)
        return cls(*sizes, scale, unshuffle)

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of ESRGAN's first generation and of BasicSR."""
        numbers = tail_numbers(tensors)
        if "model.0.weight" in tensors and len(numbers) in {3, 4}:
            return rename_layers(tensors, inverse(_first_generation("{}", numbers)))
        return rename_layers(tensors, inverse(_BASICSR))

    def original_names(self) -> dict[str, dict[str, str]]:
        names: dict[str, dict[str, str]] = {}
        if self._scale == 4:
            names["official"] = {}
        if self._unshuffle == 1:
            tail = [3, 6, 8, 10] if self._scale == 4 else [3, 5, 7]
            names["official-old"] = _first_generation(str(self._blocks), tail)
        if self._scale * self._unshuffle == 4:
            names["basicsr"] = _BASICSR
        return names

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self._scale * side for side in x.shape[2:])
        return self.enlarge(self.trunk(fold(x, self._unshuffle)))[:, :, :height, :width]

    def trunk(self, x: Tensor) -> Tensor:
        """The folded image, ``(N, 3 * unshuffle ** 2, H, W)``, to feature maps ``(N, C, H, W)``."""
        shallow: Tensor = self.conv_first(x)
        features: Tensor = shallow + self.trunk_conv(self.RRDB_trunk(shallow))
        return features

    def enlarge(self, features: Tensor) -> Tensor:
        """The trunk's feature maps to a picture of ``scale * unshuffle`` times their side."""
        for step in range(len(self._steps)):
            features = self._step(step, features)
        return picture(self.conv_last, convolution_relu(self.HRconv, features, SLOPE))

    def _step(self, number: int, features: Tensor) -> Tensor:
        factor = self._steps[number]
        if factor > 1:
            features = F.interpolate(features, scale_factor=factor, mode="nearest")
        upconv = cast("nn.Conv2d", self.get_submodule(f"upconv{number + 1}"))
        return convolution_relu(upconv, features, SLOPE)


def trunk_sizes(tensors: Mapping[str, Tensor]) -> tuple[int, int, int] | None:
    """Features, blocks and growth of the RRDBs among these weights; None if there are none."""
    features = outputs_of(tensors, "conv_first")
    blocks = count_keys(tensors, r"RRDB_trunk\.\d+\.RDB1\.conv1\.weight")
    growth = outputs_of(tensors, "RRDB_trunk.0.RDB1.conv1")
    return (features, blocks, growth) if features and blocks and growth else None


def _first_generation(blocks: str, tail: Sequence[int]) -> dict[str, str]:
    """Names of layers there: ``model.1.sub`` holds the blocks and, last, trunk_conv."""
    last = ["upconv1", *(["upconv2"] if len(tail) == 4 else []), "HRconv", "conv_last"]
    return {
        "conv_first": "model.0",
        "RRDB_trunk.{}.RDB{}.conv{}": "model.1.sub.{}.RDB{}.conv{}.0",
        "trunk_conv": f"model.1.sub.{blocks}",
        **{name: f"model.{number}" for name, number in zip(last, tail, strict=True)},
    }


def _grow(x: Tensor, layers: Sequence[WinogradConvolution]) -> Tensor:
    """x and what each layer makes of all before it, in one map that they write into."""
    count, features, height, width = x.shape
    channels = features + sum(layer.out_channels for layer in layers)
    shape = (count, channels, height, width)
    seen = torch.empty(shape, dtype=layers[0].dtype, memory_format=torch.channels_last)
    seen[:, :features] = x
    for layer in layers:
        after = features + layer.out_channels
        layer.write(seen[:, :features], seen[:, features:after], slope=SLOPE)
        features = after
    return seen
