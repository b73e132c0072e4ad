"""Cria-CL's generator: an RRDBNet whose picture a spatial projector takes apart into two views.

                      ┌─ sm ── softmax over channels ── mask ─┐
    RRDBNet ── middle ┼─ branch1 ── · mask ─────── tail_conv1 ── first  ─┐
              picture └─ branch2 ── · (1 - mask) ─ tail_conv2 ── second ─ + ── fused

Shi et al., "Criteria Comparative Learning for Real-scene Image Super-Resolution", TCSVT 2022. Each
of branch1, branch2 and sm is three residual blocks of two 3x3 convolutions beside a 1x1 one, each
3x3 followed by LeakyReLU (0.2), at the enlarged size. The mask sums to 1 over the channels, and so
is 1/64 on average: the first view is a small correction, the second carries the picture.

What is certain: layers, their order and their keys, from the published network file of RealSR-CCL,
which a test loads strictly; RWSR-EDL (the authors' training code) has the same. What is inferred:
that files with the trunk's keys in ESRGAN's first generation, or in BasicSR's, exist. They are read
all the same, as `RRDBNet` reads them. The released weights themselves have not been at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.generators.generator import STEPS, Generator, Views, picture
from ranksrgan.srgan.generators.rrdbnet import PROJECTOR_KEY, SLOPE, RRDBNet, trunk_sizes
from ranksrgan.srgan.network import convolution, outputs_of, said_number


class ResidualBlock(nn.Module):
    """Two convolutions with their activations, plus a 1x1 convolution of what they are given."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            convolution(inputs, features),
            nn.LeakyReLU(SLOPE, inplace=True),
            convolution(features, features),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.conv = convolution(inputs, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.block(x) + self.conv(x)
        return made


class TwoViewRRDBNet(RRDBNet):
    """``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``, not clamped.

    While it is trained it returns `Views` of that shape: the criteria of a training may look at
    different ones. 17,286,473 parameters at 64 features, 23 blocks and a growth of 32, of which
    588,486 are the projector's.

    Convolutions of the dense blocks start from a tenth of He's normal distribution, as published;
    the others from the framework's default. `start_trunk` takes over a trained RRDBNet instead.

    Args:
        features: channels between the blocks, and of the projector.
        blocks: RRDBs.
        growth: channels that each convolution of a dense block adds.
        scale: 4, or 1 for pictures that keep their size (CameraSR): the same layers without the two
            interpolations, so that weights do not tell the one from the other.

    Raises:
        InvalidInput: a size below 1, or another scale.
    """

    architecture = "two_view_rrdbnet"

    def __init__(
        self, features: int = 64, blocks: int = 23, growth: int = 32, scale: int = 4
    ) -> None:
        if scale not in {1, 4}:
            raise InvalidInput(
                f"scale {scale}: a two-view network is of scale 4, or of scale 1", field="scale"
            )
        super().__init__(features, blocks, growth)
        self.options = {
            "features": features,
            "blocks": blocks,
            "growth": growth,
            "scale": scale,
        }
        self._scale = scale
        self._steps = STEPS[scale] if scale > 1 else (1, 1)
        self.branch1 = _branch(features)
        self.branch2 = _branch(features)
        self.sm = _branch(features)
        self.tail_conv1 = convolution(features, 3)
        self.tail_conv2 = convolution(features, 3)

    @property
    def receptive_field(self) -> int:
        """Of `enlarge`: ten convolutions at the enlarged size, and one before."""
        return 3 if self._scale == 4 else 11

    @property
    def bytes_per_pixel(self) -> int:
        # The mask and what a residual block holds. Measured on the CPU: 6.1 maps of the enlarged
        # size at scale 4, 6.5 at scale 1.
        return 7 * self._scale**2 * self._features * 4

    @classmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        sizes = trunk_sizes(tensors)
        if sizes is None or not outputs_of(tensors, PROJECTOR_KEY):
            return None
        # The published class has but one form, of scale 4; a file of the other has to be said so.
        scale = said_number(said, "scale")
        return cls(*sizes, 4 if scale is None else int(scale))

    def original_names(self) -> dict[str, dict[str, str]]:
        return {"official": {}}

    def start_trunk(self, trained: Generator) -> None:
        """Take over all weights of an RRDBNet of scale 4; the projector stays as it is.

        Raises:
            InvalidInput: another network, or one of another size than this one's trunk.
        """
        wanted = {
            **{name: self.options[name] for name in ("features", "blocks", "growth")},
            "scale": 4,
            "unshuffle": 1,
        }
        if trained.architecture != RRDBNet.architecture or trained.options != wanted:
            trunk = ", ".join(f"{name} {value}" for name, value in wanted.items())
            raise InvalidInput(
                f"{trained} is no trunk for {self}; an rrdbnet ({trunk}) would be",
                field="generator.trunk_weights",
            )
        self.load_state_dict({**self.state_dict(), **trained.state_dict()})

    def forward(self, x: Tensor) -> Tensor | Views:  # type: ignore[override]
        """The fused view; all of them in training."""
        views = self._project(super().enlarge(self.trunk(x)))
        return views if self.training else views.fused

    def enlarge(self, features: Tensor) -> Tensor:
        return self._project(super().enlarge(features)).fused

    def mask(self, middle: Tensor) -> Tensor:
        """``(N, features, H, W)`` of the middle picture: above 0, with a sum of 1 over channels."""
        return torch.softmax(self.sm(middle), dim=1, dtype=torch.float32)

    def _project(self, middle: Tensor) -> Views:
        mask = self.mask(middle)
        first = picture(self.tail_conv1, mask * self.branch1(middle))
        second = picture(self.tail_conv2, (1 - mask) * self.branch2(middle))
        return Views(first + second, first, second)


def _branch(features: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(inputs, features) for inputs in (3, features, features)))
