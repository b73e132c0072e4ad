"""SRResNet as RankSRGAN uses it: residual blocks without normalisation, sub-pixel upsampling.

    conv_first ─┬─ recon_trunk (blocks) ── LRconv ─ + ── upconv1 (─ upconv2) ── HRconv ── conv_last
                └───────────────────────────────────┘

Every convolution is 3x3 with bias; ReLU follows the first convolution of a block, each pixel
shuffle and HRconv. Keys are those of the official repository's second generation, and files of the
first generation are renamed while they are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generator import Generator, count_keys, outputs_of
from ranksrgan.srgan.parts import Part, Parts, Residual
from ranksrgan.srgan.tiling import bytes_per_pixel

#: Factors of the pixel shuffles that make up each scale.
SHUFFLES: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2)}


class GeneratorOptions(NamedTuple):
    """What distinguishes one SRResNet from another."""

    features: int = 64
    blocks: int = 16
    scale: int = 4


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x))): no normalisation, no scaling, nothing after the sum."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv3(features, features)
        self.conv2 = _conv3(features, features)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(self.relu(self.conv1(x)))
        return x + residual


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
        if scale not in SHUFFLES:
            raise InvalidInput(f"scale is {scale}; SRResNet has 2, 3 and 4", field="scale")
        if features < 1 or blocks < 1:
            raise InvalidInput(
                f"{features} features and {blocks} blocks: each is at least 1", field="features"
            )
        self.options = GeneratorOptions(features, blocks, scale)
        self.conv_first = _conv3(3, features)
        self.recon_trunk = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.LRconv = _conv3(features, features)
        factors = SHUFFLES[scale]
        self.upconv1 = _conv3(features, features * factors[0] ** 2)
        self.upconv2 = _conv3(features, features * factors[1] ** 2) if len(factors) > 1 else None
        self.shuffle = nn.PixelShuffle(factors[0])
        self.HRconv = _conv3(features, features)
        self.conv_last = _conv3(features, 3)
        self.relu = nn.ReLU(inplace=True)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not (as_published and name == "LRconv"):
                small = as_published or name.startswith(("recon_trunk", "conv_last"))
                _start(module, 0.1 if small else 1.0)

    @property
    def scale(self) -> int:
        return self.options.scale

    @property
    def receptive_field(self) -> int:
        """Two a block and one each for conv_first, LRconv and upconv1.

        What follows at the higher resolutions reaches one more at every scale.
        """
        return 2 * self.options.blocks + 4

    @property
    def bytes_per_pixel(self) -> int:
        return bytes_per_pixel(self.options.features, self.scale)

    def parts(self) -> Parts:
        features = self.options.features
        block_bytes = 4 * 5 * features
        blocks = (Part(block, 2, features, block_bytes) for block in self.recon_trunk)
        body = Residual((*blocks, Part(self.LRconv, 1, features, block_bytes)))
        first = Part(self.conv_first, 1, features, block_bytes)
        return Parts((first, body), Part(self.enlarge, 2, 3, self.bytes_per_pixel, self.scale))

    @classmethod
    def fitting(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        features, up = outputs_of(tensors, "conv_first"), outputs_of(tensors, "upconv1")
        blocks = count_keys(tensors, r"recon_trunk\.\d+\.conv1\.weight")
        if not (features and up and blocks and outputs_of(tensors, "LRconv")):
            return None
        scale = 4 if "upconv2.weight" in tensors else {4.0: 2, 9.0: 3}.get(up / features)
        return cls(features, blocks, scale) if scale else None

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the keys of the official repository's first generation; others stay as they are.

        ``model.1.sub`` holds the blocks and, last, LRconv. Behind it come convolutions with
        shuffles and activations between them, so that their numbers tell the order and nothing
        else.
        """
        trunk = re.compile(r"model\.1\.sub\.(\d+)\.(?:res\.(\d)\.)?(weight|bias)")
        tail = sorted(
            int(match[1])
            for key in tensors
            if (match := re.fullmatch(r"model\.(\d+)\.weight", key)) and match[1] != "0"
        )
        names = {3: ["upconv1"], 4: ["upconv1", "upconv2"]}.get(len(tail))
        if "model.0.weight" not in tensors or names is None:
            return dict(tensors)
        places = dict(zip(tail, [*names, "HRconv", "conv_last"], strict=True))
        renamed = {}
        for key, value in tensors.items():
            if match := trunk.fullmatch(key):
                block, conv, part = match.groups()
                conv_name = {"0": "conv1", "2": "conv2"}.get(conv or "", "")
                new = f"recon_trunk.{block}.{conv_name}.{part}" if conv else f"LRconv.{part}"
            elif match := re.fullmatch(r"model\.(\d+)\.(weight|bias)", key):
                new = f"{places.get(int(match[1]), 'conv_first')}.{match[2]}"
            else:
                new = key
            renamed[new] = value
        return renamed

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv_first(x)
        return self.enlarge(shallow + self.LRconv(self.recon_trunk(shallow)))

    def enlarge(self, deep: Tensor) -> Tensor:
        """The trunk's feature maps ``(N, features, H, W)`` to ``(N, 3, scale * H, scale * W)``."""
        deep = self.relu(self.shuffle(self.upconv1(deep)))
        if self.upconv2 is not None:
            deep = self.relu(self.shuffle(self.upconv2(deep)))
        deep = self.relu(self.HRconv(deep))
        # bfloat16 has one step of 1/256 near white: the picture itself is never made in it.
        with torch.autocast(deep.device.type, enabled=False):
            enlarged: Tensor = self.conv_last(deep.to(self.conv_last.weight.dtype))
        return enlarged


def save_generator(path: Path, network: SRResNet, about: Mapping[str, Any]) -> None:
    """Write a generator as ``.safetensors``; ``about`` holds JSON values worth keeping with it."""
    save_weights(
        path,
        network.state_dict(),
        kind="generator",
        architecture=network.architecture,
        options=network.options._asdict(),
        about=about,
    )


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _start(convolution: nn.Conv2d, factor: float) -> None:
    """He's normal distribution times ``factor``, bias 0."""
    nn.init.kaiming_normal_(convolution.weight)
    with torch.no_grad():
        convolution.weight.mul_(factor)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
