"""What every generator tells about itself, so that files open and images of any size fit."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.srgan.generators.parts import Part, Parts
from ranksrgan.srgan.generators.winograd import RgbConvolution
from ranksrgan.srgan.network import Network

#: Factors of the steps by which a generator reaches each scale.
STEPS: dict[int, tuple[int, ...]] = {2: (2,), 3: (3,), 4: (2, 2)}


#: Names of the pictures in `Views`.
View = Literal["fused", "first", "second"]


class Views(NamedTuple):
    """What a criterion of a training may look at, each ``(N, 3, scale * H, scale * W)``.

    A generator of one view shows the same picture in all three.
    """

    fused: Tensor  # the result
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, made: Tensor | Views) -> Views:
        """What a generator in training has made, as views."""
        return made if isinstance(made, Views) else cls(made, made, made)

    def view(self, name: View) -> Tensor:
        """The picture of that name."""
        picture: Tensor = getattr(self, name)
        return picture


class Generator(Network):
    """A network from ``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``.

    What its weights want besides (other value ranges, say) happens inside. Its result need not be
    clamped.

    Attributes:
        architecture: the name in files and in `UpscalerInfo`.
    """

    kind = "generator"

    @property
    @abstractmethod
    def scale(self) -> int:
        """Output side divided by input side."""

    @property
    @abstractmethod
    def receptive_field(self) -> int:
        """How many LR pixels to each side of a pixel its enlargement depends on.

        Tiles that overlap by this much are exact.
        """

    @property
    @abstractmethod
    def bytes_per_pixel(self) -> int:
        """What float32 inference holds at its peak for each LR pixel; where the network folds
        squares of them into one first, for each square.
        """

    def parts(self) -> Parts:
        """The generator as steps that see a few pixels each, for images of any size.

        Without knowledge of its inside it is one step.
        """
        whole = Part(self, self.receptive_field, 3, self.bytes_per_pixel, self.scale)
        return Parts((), whole)


class WholeImageGenerator(Generator):
    """A generator that no tile of an image is enough for.

    Its first part, `trunk`, is given the whole image: it depends on all of it, or on so much that a
    halo would dwarf every tile. It stays at the LR resolution and so needs a fraction of the
    memory. The second, `enlarge`, may work on pieces of the trunk's result; `receptive_field` and
    `bytes_per_pixel` are those of this part.
    """

    @property
    @abstractmethod
    def trunk_bytes_per_pixel(self) -> int:
        """What the trunk holds at its peak for each pixel that it is given, in float32."""

    @abstractmethod
    def trunk(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in [0, 1] to feature maps ``(N, C, H, W)``.

        A network that folds squares of pixels into channels does so before: see `Parts.fold`.
        """

    @abstractmethod
    def enlarge(self, features: Tensor) -> Tensor:
        """The trunk's feature maps to ``(N, 3, s * H, s * W)``, s the scale, times the side of the
        squares if the network folds them.
        """

    def parts(self) -> Parts:
        # The width of the trunk's maps is not known here; what they cost is in its bytes.
        trunk = Part(self.trunk, None, 0, self.trunk_bytes_per_pixel)
        enlarge = Part(self.enlarge, self.receptive_field, 3, self.bytes_per_pixel, self.scale)
        return Parts((trunk,), enlarge)

    def forward(self, x: Tensor) -> Tensor:
        return self.enlarge(self.trunk(x))


def picture(last: nn.Conv2d | nn.ConvTranspose2d | RgbConvolution, features: Tensor) -> Tensor:
    """What the last layer of a generator makes, in its own precision even under autocast.

    bfloat16 has one step of 1/256 near white: no picture is ever made in it.
    """
    mixed = features.is_cuda and torch.is_autocast_enabled("cuda")
    with torch.autocast(features.device.type, enabled=False):
        if not isinstance(last, RgbConvolution):
            features = features.to(last.weight.dtype)
        made: Tensor = _as_four(last, features) if mixed and _is_rgb(last) else last(features)
    return made


def _is_rgb(last: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(last, nn.Conv2d) and last.out_channels == 3


def _as_four(last: nn.Conv2d, features: Tensor) -> Tensor:
    """The three outputs of a convolution that computes a fourth, zero.

    For three in TF32 cuDNN has no kernel that uses the GPU's matrix units, and takes as long over
    this layer as over ten others.
    """
    weight = F.pad(last.weight, (0, 0, 0, 0, 0, 0, 0, 1))
    bias = None if last.bias is None else F.pad(last.bias, (0, 1))
    made = F.conv2d(features, weight, bias, last.stride, last.padding, last.dilation)
    return made[:, :3].contiguous(memory_format=torch.channels_last)
