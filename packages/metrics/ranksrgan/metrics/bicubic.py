"""Bicubic interpolation as an `Upscaler`: the baseline of every table."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.luma import check_images

DEFAULT_SCALE = 4
MAX_SCALE = 16


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
        cancellation.check()
        # float64 throughout, so that the result does not depend on the type that carried the image
        return imresize(images.detach().double(), float(self._scale)).clamp(0, 1).float()


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
