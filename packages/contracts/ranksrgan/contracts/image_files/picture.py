"""What a decoded image is, and what its file said about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ranksrgan.contracts.image_files.resolution import Resolution

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture; the bytes are interpreted by nothing here.

    Attributes:
        exif: the EXIF block, from its byte order mark on (no ``Exif\\0\\0`` before it). Its
            orientation has been applied to the pixels and reads 1.
        icc_profile: of the colours, which are stored as the file had them.
        resolution: in the format's own place; in that of EXIF if there is none.
    """

    exif: bytes | None = None
    icc_profile: bytes | None = None
    resolution: Resolution | None = None


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    Attributes:
        colour: ``(H, W, C)``, C = 3 (RGB) or 1 (grey), uint8 or uint16.
        alpha: ``(H, W)`` of the same type, not premultiplied; None if there is none.
        metadata: of the file it came from, and goes to.
    """

    colour: Pixels
    alpha: Pixels | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def height(self) -> int:
        return int(self.colour.shape[0])

    @property
    def width(self) -> int:
        return int(self.colour.shape[1])

    @property
    def depth(self) -> int:
        """The largest value a channel can hold: 255 or 65535."""
        return int(np.iinfo(self.colour.dtype).max)

    def rows(self, top: int, bottom: int) -> Picture:
        """Rows ``top`` to ``bottom`` (excluded) as a picture of its own, without a copy."""
        alpha = None if self.alpha is None else self.alpha[top:bottom]
        return Picture(self.colour[top:bottom], alpha, self.metadata)
