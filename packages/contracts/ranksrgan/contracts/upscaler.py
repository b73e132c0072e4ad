"""What an upscaler is: something that turns small images into larger ones by a fixed factor."""

from __future__ import annotations

from dataclasses import dataclass
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
