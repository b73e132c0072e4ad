"""SRResNet as RankSRGAN uses it: residual blocks without normalisation, sub-pixel upsampling.

    conv_first ─┬─ recon_trunk (blocks) ── LRconv ─ + ── upconv1 (─ upconv2) ── HRconv ── conv_last
                └───────────────────────────────────┘

Every convolution is 3x3 with bias; ReLU follows the first convolution of a block, each pixel
shuffle and HRconv. Keys are those of the official repository's second generation, and files of the
first generation are renamed while they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.convolutions import (
    convolution_add,
    convolution_relu,
    convolution_shuffle,
)
from ranksrgan.srgan.generators.generator import STEPS, Generator, picture
from ranksrgan.srgan.generators.parts import Part, Parts, Residual
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.network import (
    convolution,
    count_keys,
    inverse,
    outputs_of,
    rename_layers,
    start_he,
)
from ranksrgan.srgan.upscaling.tiling import bytes_per_pixel


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x))): no normalisation, no scaling, nothing after the sum."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = convolution(features, features)
        self.conv2 = convolution(features, features)

    def forward(self, x: Tensor) -> Tensor:
        return convolution_add(self.conv2, convolution_relu(self.conv1, x), x)


class SRResNet(Generator):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    1,554,499 parameters at 64 features, 16 blocks and scale 4. Convolutions start from He's normal
    distribution with bias 0; those of the residual blocks and conv_last, which add to something or
    are a picture, from a tenth of it.

    The published code takes a tenth everywhere but in LRconv, which it leaves at the framework's
    default. The product of so many tenths passes almost no signal at first, which a million steps
    forgive and a thousand do not. ``as_published`` starts like that.

    Args:
        features: channels inside.
        blocks: residual blocks.
        scale: 2, 3 or 4.
        as_published: start as the published code does.

    Raises:
        InvalidInput: no such scale, or a size below 1.
    """

    architecture = "srresnet"

    def __init__(
        self, features: int = 64, blocks: int = 16, scale: int = 4, *, as_published: bool = False
    ) -> None:
        super().__init__()
        check_size(features, blocks, scale)
        self.options = {"features": features, "blocks": blocks, "scale": scale}
        self._features, self._blocks, self._scale = features, blocks, scale
        self.conv_first = convolution(3, features)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.LRconv = convolution(features, features)
        factors = STEPS[scale]
        self.upconv1 = convolution(features, features * factors[0] ** 2)
        self.upconv2 = convolution(features, features * 4) if len(factors) > 1 else None
        self.shuffle = PixelShuffle(factors[0])
        self.HRconv = convolution(features, features)
        self.conv_last = convolution(features, 3)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not (as_published and name == "LRconv"):
                small = as_published or name.startswith(("recon_trunk", "conv_last"))
                start_he(module, 0.1 if small else 1.0)

    @property
    def scale(self) -> int:
        return self._scale

    @property
    def receptive_field(self) -> int:
        """Two a block and one each for conv_first, LRconv and upconv1.

        What follows at the higher resolutions reaches one more at every scale.
        """
        return 2 * self._blocks + 4

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self._features, self._scale)

    def parts(self) -> Parts:
        enlarge = Part(self.enlarge, 2, 3, self.bytes_per_pixel, self._scale)
        return residual_parts(self.conv_first, self.recon_trunk, self.LRconv, enlarge)

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        features, up = outputs_of(tensors, "conv_first"), outputs_of(tensors, "upconv1")
        blocks = count_keys(tensors, r"recon_trunk\.\d+\.conv1\.weight")
        if not (features and up and blocks and outputs_of(tensors, "LRconv")):
            return None
        scale = scale_of_shuffles(features, up, "upconv2.weight" in tensors)
        return cls(features, blocks, scale) if scale else None

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of the official repository's first generation."""
        numbers = tail_numbers(tensors)
        if "model.0.weight" not in tensors or len(numbers) not in {3, 4}:
            return dict(tensors)
        return rename_layers(tensors, inverse(_first_generation("{}", numbers)))

    def original_names(self) -> dict[str, dict[str, str]]:
        tail = [2, 5, 8, 10] if self._scale == 4 else [2, 5, 7]
        return {"official": {}, "official-old": _first_generation(str(self._blocks), tail)}

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv_first(x)
        return self.enlarge(shallow + self.LRconv(self.recon_trunk(shallow)))

    def enlarge(self, deep: Tensor) -> Tensor:
        """The trunk's feature maps ``(N, features, H, W)`` to ``(N, 3, scale * H, scale * W)``."""
        deep = convolution_shuffle(self.upconv1, self.shuffle, deep, 0.0)
        if self.upconv2 is not None:
            deep = convolution_shuffle(self.upconv2, self.shuffle, deep, 0.0)
        deep = convolution_relu(self.HRconv, deep)
        return picture(self.conv_last, deep)


def residual_parts(
    first: Callable[[Tensor], Tensor], blocks: nn.Sequential, after: nn.Conv2d, enlarge: Part
) -> Parts:
    """Two convolutions a block, and a sum around all of them and ``after``, as parts."""
    features = after.out_channels
    maps = 4 * 5 * features
    body = [Part(block, 2, features, maps) for block in blocks]
    trunk = Residual((*body, Part(after, 1, features, maps)))
    return Parts((Part(first, 1, features, maps), trunk), enlarge)


def check_size(features: int, blocks: int, scale: int) -> None:
    """Refuse what no network of residual blocks and pixel shuffles can have.

    Raises:
        InvalidInput: no such scale, or a size below 1.
    """
    if scale not in STEPS:
        raise InvalidInput(f"scale is {scale}; there are 2, 3 and 4", field="scale")
    if features < 1 or blocks < 1:
        raise InvalidInput(
            f"{features} features and {blocks} blocks: each is at least 1", field="features"
        )


def scale_of_shuffles(features: int, first: int, second: bool) -> int | None:
    """The scale that pixel shuffles make up.

    Args:
        features: channels before and after each shuffle.
        first: channels that the first shuffle is given.
        second: whether there is another one.
    """
    return 4 if second else {4.0: 2, 9.0: 3}.get(first / features)


def tail_numbers(tensors: Mapping[str, Tensor]) -> list[int]:
    """In files of the first generation: the numbers of what follows the trunk, in order.

    Between those convolutions are shuffles and activations, which have no tensors: the numbers tell
    the order and nothing else.
    """
    numbers = (re.fullmatch(r"model\.(\d+)\.weight", key) for key in tensors)
    return sorted(int(match[1]) for match in numbers if match and match[1] != "0")


def _first_generation(blocks: str, tail: Sequence[int]) -> dict[str, str]:
    """Names of layers there: ``model.1.sub`` holds the blocks and, last, LRconv."""
    last = ["upconv1", *(["upconv2"] if len(tail) == 4 else []), "HRconv", "conv_last"]
    return {
        "conv_first": "model.0",
        "recon_trunk.{}.conv1": "model.1.sub.{}.res.0",
        "recon_trunk.{}.conv2": "model.1.sub.{}.res.2",
        "LRconv": f"model.1.sub.{blocks}",
        **{name: f"model.{number}" for name, number in zip(last, tail, strict=True)},
    }
