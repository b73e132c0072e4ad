"""Bicubic interpolation as an `Upscaler`: the baseline of every table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.metrics.imresize import imresize_rows, rows_under
from ranksrgan.metrics.luma import check_images

DEFAULT_SCALE = 4
MAX_SCALE = 16

# Of a result, made at a time.
_PIXELS = 2**20


class Bicubic:
    """MATLAB's bicubic `imresize`, clamped to [0, 1].

    Args:
        scale: a whole number, 1 to `MAX_SCALE`.
    """

    def __init__(self, scale: int = DEFAULT_SCALE) -> None:
        if not isinstance(scale, int) or not 1 <= scale <= MAX_SCALE:
            raise InvalidInput(
                f"a scale of {scale!r} is not a whole number from 1 to {MAX_SCALE}", field="scale"
            )
        self._scale = scale

    @property
    def info(self) -> UpscalerInfo:
        name = "bicubic" if self._scale == DEFAULT_SCALE else f"bicubic?scale={self._scale}"
        return UpscalerInfo(name=name, version="1", scale=self._scale, architecture="bicubic")

    def upscale(self, images: Tensor) -> Tensor:
        """See `Upscaler.upscale`."""
        check_images(images)
        if images.shape[1] != 3 or not images.is_floating_point():
            raise InvalidInput(
                f"images is {tuple(images.shape)} of {images.dtype}; an upscaler takes "
                "(N, 3, H, W) floating point in [0, 1]",
                field="images",
            )
        count, channels, height, width = images.shape
        large = images.new_empty(
            (count, channels, self._scale * height, self._scale * width), dtype=torch.float32
        )
        for rows in self._bands(height, count * width):
            first, end = rows_under(height, self._scale, rows)
            large[..., slice(*rows), :] = self._band(images[..., first:end, :], height, first, rows)
        return large

    def upscale_strips(
        self, read_rows: Callable[[int, int], Tensor], height: int, width: int
    ) -> Iterator[Tensor]:
        """Enlarge one image from top to bottom, some rows at a time; to the bit as `upscale` does.

        Args:
            read_rows: gives rows ``(1, 3, n, width)``, from the first on and up to the second; it
                is asked for each once, in order.
            height: of the image.
            width: of the image.

        Yields:
            ``(1, 3, n, scale * width)`` float32 in [0, 1]: the rows of the result from the top.

        Raises:
            RequestCancelled: nobody waits for it any more.
        """
        needed = self.rows_needed(height, width)
        first, there = 0, needed[0]
        held = read_rows(first, there)
        for rows, end in zip(self._bands(height, width), needed, strict=True):
            if end > there:
                held = torch.cat([held, read_rows(there, end)], -2)
                there = end
            yield self._band(held, height, first, rows)
            if rows[1] < self._scale * height:
                kept, _ = rows_under(height, self._scale, (rows[1], rows[1] + 1))
                held, first = held[..., kept - first :, :], kept

    def rows_needed(self, height: int, width: int) -> list[int]:
        """For each strip of `upscale_strips` how many rows have been read when it is made."""
        ends = [rows_under(height, self._scale, rows)[1] for rows in self._bands(height, width)]
        return [*ends[:-1], height]

    def _bands(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows of the result that are made at a time."""
        rows = max(_PIXELS // (self._scale**2 * width), 1) * self._scale
        last = self._scale * height
        return [(top, min(top + rows, last)) for top in range(0, last, rows)]

    def _band(self, images: Tensor, height: int, first: int, rows: tuple[int, int]) -> Tensor:
        cancellation.check()
        # float64 throughout, so that the result does not depend on the type that carried the image
        part = images.detach().double()
        return imresize_rows(part, self._scale, height, first, rows).clamp_(0, 1).float()


def open_bicubic(argument: str, options: Mapping[str, str]) -> Bicubic:
    """Entry point of ``bicubic`` and ``bicubic?scale=3``.

    Raises:
        InvalidInput: an option other than ``scale``, or a scale that is not a whole number.
    """
    unknown = sorted(set(options) - {"scale"})
    if unknown:
        raise InvalidInput(
            f"{argument} has no option {', '.join(unknown)}; it has: scale", field=unknown[0]
        )
    text = options.get("scale", str(DEFAULT_SCALE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise InvalidInput(f"scale={text} is not a whole number", field="scale")
    return Bicubic(int(text))
