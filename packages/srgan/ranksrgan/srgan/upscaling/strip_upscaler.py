"""Upscalers that never hold a whole image: rows go in, enlarged rows come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

#: ``(top, bottom)`` to those rows of an image: ``(1, 3, bottom - top, W)``, values in [0, 1].
ReadRows = Callable[[int, int], Tensor]


@runtime_checkable
class StripUpscaler(Protocol):
    """An upscaler that never holds a whole image: rows go in, enlarged rows come out."""

    def upscale_strips(self, read_rows: ReadRows, height: int, width: int) -> Iterator[Tensor]:
        """Enlarge one image from top to bottom.

        Args:
            read_rows: is asked for every row once, in order: (0, a), (a, b), ... (z, height).
                How many at a time is the upscaler's choice.
            height: of the image.
            width: of the image.

        Yields:
            ``(1, 3, n, scale * width)`` float32 in [0, 1] on the CPU: the rows of the result from
            the top, n as it comes; ``scale * height`` in all. What `Upscaler.upscale` makes of the
            whole image, cut into strips.

        Raises:
            InvalidInput, ImageTooLarge, InvalidCheckpoint, RequestCancelled: as
                `Upscaler.upscale`; between two strips as well.
        """
        ...


@runtime_checkable
class PlannedStripUpscaler(StripUpscaler, Protocol):
    """One that says beforehand which rows it will read: they may still be on their way."""

    def rows_needed(self, height: int, width: int) -> list[int]:
        """For each strip in turn, how many rows of the image have been read when it is made.

        Args:
            height: of the image.
            width: of the image.

        Returns:
            Rows from the top, rising, ``height`` at last; one number for each strip that
            `upscale_strips` makes of such an image.

        Raises:
            ImageTooLarge: as `upscale_strips`.
        """
        ...
