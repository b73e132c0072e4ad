"""What every generator tells about itself, so that files open and images of any size fit."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from torch import Tensor, nn

from ranksrgan.srgan.parts import Part, Parts


class Generator(nn.Module, ABC):
    """A network from ``(N, 3, H, W)`` RGB in [0, 1] to ``(N, 3, scale * H, scale * W)``.

    What its weights want besides (other value ranges, say) happens inside. Its result need not be
    clamped.

    Attributes:
        architecture: the name in files and in `UpscalerInfo`.
    """

    architecture: ClassVar[str]

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
        """What float32 inference holds at its peak for each LR pixel."""

    def parts(self) -> Parts:
        """The generator as steps that see a few pixels each, for images of any size.

        Without knowledge of its inside it is one step.
        """
        whole = Part(self, self.receptive_field, 3, self.bytes_per_pixel, self.scale)
        return Parts((), whole)

    @classmethod
    @abstractmethod
    def fitting(cls, tensors: Mapping[str, Tensor]) -> Self | None:
        """A network of the size of these weights, which are not loaded yet.

        Args:
            tensors: with the keys that `modern_keys` returns.

        Returns:
            None if they belong to another architecture. Whether all of them are there and of the
            right shape is for loading to find out.
        """

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under the names that this class uses; unknown ones stay as they are."""
        return dict(tensors)


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
        """What the trunk holds at its peak for each LR pixel, in float32."""

    @abstractmethod
    def trunk(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W)`` in [0, 1] to feature maps ``(N, C, H, W)``."""

    @abstractmethod
    def enlarge(self, features: Tensor) -> Tensor:
        """The trunk's feature maps to ``(N, 3, scale * H, scale * W)``."""

    def parts(self) -> Parts:
        # The width of the trunk's maps is not known here; what they cost is in its bytes.
        trunk = Part(self.trunk, None, 0, self.trunk_bytes_per_pixel)
        enlarge = Part(self.enlarge, self.receptive_field, 3, self.bytes_per_pixel, self.scale)
        return Parts((trunk,), enlarge)

    def forward(self, x: Tensor) -> Tensor:
        return self.enlarge(self.trunk(x))


def convolution(inputs: int, outputs: int, side: int = 3, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size of its input."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)


def outputs_of(tensors: Mapping[str, Tensor], name: str) -> int:
    """How many channels a convolution makes; 0 if there is none of that name."""
    weight = tensors.get(f"{name}.weight")
    return weight.shape[0] if weight is not None and weight.ndim == 4 and weight.numel() else 0


def count_keys(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many keys match a regular expression as a whole: how many blocks a network has."""
    return sum(bool(re.fullmatch(pattern, key)) for key in tensors)
