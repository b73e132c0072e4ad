"""What an upscaler is: something that turns small images into larger ones by a fixed factor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class UpscalerInfo:
    """Facts about an upscaler.

    Attributes:
        name: what `open_upscaler` and the wire call it.
        version: of the implementation.
        scale: output side divided by input side.
        architecture: the network's name (``"srresnet"``), or the method's (``"bicubic"``).
        parameters_hash: sha256 in hex of the weights, empty if there are none.
        model_version: in the model repository that it is served from; empty if it is of none.
    """

    name: str
    version: str
    scale: int
    architecture: str
    parameters_hash: str = ""
    model_version: str = ""


@runtime_checkable
class Upscaler(Protocol):
    """Upscales images. Local and remote ones are indistinguishable, to the bit."""

    @property
    def info(self) -> UpscalerInfo: ...

    def upscale(self, images: Tensor) -> Tensor:
        """Upscale a batch, whatever its size: tiling, where it is needed, happens inside.

        Args:
            images: ``(N, 3, H, W)`` RGB, N at least 1, floating point in [0, 1].

        Returns:
            ``(N, 3, scale * H, scale * W)`` float32 in [0, 1] on the CPU or the device of
            ``images``.

        Raises:
            InvalidInput: wrong shape, type or range.
            ImageTooLarge: more pixels than this process accepts.
        """
        ...


@runtime_checkable
class FileUpscaler(Protocol):
    """An upscaler that takes a file as it is, and need hold neither its picture nor the result."""

    def upscale_file(
        self,
        source: Path,
        target: Path,
        *,
        quality: int = 95,
        out_scale: Fraction | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> tuple[int, int]:
        """Enlarge an image file, with its transparency, bit depth and metadata if the format can.

        Args:
            source: PNG, JPEG, WebP, TIFF or BMP.
            target: ``.png``, ``.jpg`` or ``.tif``; is written whole or not at all.
            quality: of JPEG, 1 to 100.
            out_scale: side of the result over that of the image, up to two decimals; None is the
                upscaler's scale.
            progress: is told the share that is made, from 0 to 1, now and then.

        Returns:
            Width and height of the result.

        Raises:
            InvalidImage: ``source`` is missing or not such a file.
            InvalidInput: a target or an option that cannot be.
            LimitExceeded: the file or the image is larger than what is taken.
            DiskFull: there is no room, here or there.
            RequestCancelled: nobody waits for the result any more.
        """
        ...
