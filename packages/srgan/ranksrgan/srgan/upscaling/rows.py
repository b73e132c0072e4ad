"""Enlarging an image that comes row by row, and is never there as a whole.

What a whole picture would be looked through for is said instead: an image of one channel is grey,
and one of three is not, even if its channels are equal. There is no transparency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial

from torch import Tensor

from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.image_files.encoders import Layout
from ranksrgan.contracts.images import Picture, from_tensor
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.srgan.upscaling.picture import luma, rows_at_a_time
from ranksrgan.srgan.upscaling.strip_upscaler import PlannedStripUpscaler, ReadRows
from ranksrgan.srgan.upscaling.strips import checked_strips, cut, resized


class RowsEnlargement:
    """One image on its way through an upscaler, in two steps as those of `Enlargement`.

    Memory is that of some strips, if the upscaler is a `PlannedStripUpscaler` too.

    Args:
        image: what comes.
        read_rows: see `ReadRows`; is asked for rows as ``needs`` says.
        upscaler: for the colour.
        out_scale: see `Enlargement`.

    Attributes:
        needs: for each strip in turn, the rows of the image that are read when it is made.
        layout: of the result as a file, which has 8 bits.

    Raises:
        ImageTooLarge: the upscaler has to see the image as a whole, and cannot.
    """

    def __init__(
        self,
        image: RowImage,
        read_rows: ReadRows,
        upscaler: Upscaler,
        out_scale: Fraction | None = None,
    ) -> None:
        self._image, self._read_rows, self._upscaler = image, read_rows, upscaler
        self._scale = Fraction(upscaler.info.scale) if out_scale is None else out_scale
        self.needs: Sequence[int] = [image.height]
        if isinstance(upscaler, PlannedStripUpscaler):
            self.needs = upscaler.rows_needed(image.height, image.width)
        self.layout = Layout(
            height=math.ceil(self._scale * image.height),
            width=math.ceil(self._scale * image.width),
            channels=image.channels,
            alpha=False,
            depth=255,
        )

    def strips(self) -> Iterator[Tensor]:
        """See `Enlargement.strips`."""
        height, width = self._image.height, self._image.width
        if isinstance(self._upscaler, PlannedStripUpscaler):
            strips = self._upscaler.upscale_strips(self._read_rows, height, width)
            yield from checked_strips(strips, self._upscaler, height, width)
        else:
            yield enlarge(self._upscaler, self._read_rows(0, height))[0]

    def bands(self, strips: Iterable[Tensor]) -> Iterator[Tensor]:
        """The result from the top down: ``(channels, n, W)`` float32 in [0, 1].

        Args:
            strips: what `strips` yields.
        """
        image, scale = self._image, self._upscaler.info.scale
        bands = cut(strips, rows_at_a_time(scale * image.width))
        if image.channels == 1:
            bands = map(partial(luma, channels=1), bands)
        if self._scale != scale:
            large = resized(bands, scale * image.height, self._scale / scale)
            clamped = (band.clamp(0, 1) for band in large)
            bands = cut(clamped, rows_at_a_time(self.layout.width))
        return bands

    def pictures(self, strips: Iterable[Tensor]) -> Iterator[Picture]:
        """See `Enlargement.pictures`."""
        return (Picture(from_tensor(band).colour) for band in self.bands(strips))
