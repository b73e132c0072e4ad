"""What every discriminator tells about itself: which crops it takes, and what it answers."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.network import Network


class Sides(NamedTuple):
    """Which sides a crop may have, in pixels."""

    least: int
    most: int | None = None
    multiple: int = 1

    def __str__(self) -> str:
        text = (
            f"{self.least} pixels or more"
            if self.most is None
            else f"{self.least} to {self.most} pixels"
        )
        return f"{text}, a multiple of {self.multiple}" if self.multiple > 1 else text

    def allow(self, side: int) -> bool:
        return self.least <= side <= (self.most or side) and side % self.multiple == 0


class Discriminator(Network):
    """``(N, 3, H, W)`` RGB in [0, 1] to logits: positive says "a real photograph".

    One logit for an image, ``(N, 1)``, or a map of them, ``(N, 1, h, w)``: the losses are means
    over all of them.

    Attributes:
        sides: of the crops that it takes.
    """

    kind = "discriminator"
    sides: ClassVar[Sides]

    def check(self, x: Tensor) -> None:
        """Refuse images of a size that the network cannot take.

        Raises:
            InvalidInput: says which sizes it takes.
        """
        height, width = x.shape[-2:]
        if not (self.sides.allow(height) and self.sides.allow(width)):
            raise InvalidInput(
                f"the discriminator {self.architecture} takes crops with sides of {self.sides}, "
                f"not {width} x {height}",
                field="crop",
            )


def check_width(width: int) -> None:
    """Refuse a network without channels.

    Raises:
        InvalidInput: ``width`` is below 1.
    """
    if width < 1:
        raise InvalidInput(f"width is {width}; it is at least 1", field="width")
