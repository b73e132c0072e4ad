"""What can be had from any upscaler for more time: self-ensemble, back-projection, another factor.

`Refined` is an upscaler around an upscaler. In this order, where they are asked for: the mean of
eight enlargements, then steps towards a picture that shrinks to what was given, then a resize.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.enlarged import enlarge
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.metrics import imresize


class Refined:
    """An upscaler whose results are refined.

    Args:
        upscaler: what enlarges.
        self_ensemble: see `self_ensemble`; eight times the work.
        back_projection: steps of `back_project`; 0 leaves the result alone.
        out_scale: a whole number: results are resized to this many times the input instead of the
            upscaler's own factor.

    Raises:
        InvalidInput: a negative number of steps, or an ``out_scale`` below 1.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        *,
        self_ensemble: bool = False,
        back_projection: int = 0,
        out_scale: int | None = None,
    ) -> None:
        if back_projection < 0:
            raise InvalidInput(
                f"{back_projection} steps of back-projection; 0 or more are possible",
                field="back_projection",
            )
        if out_scale is not None and out_scale < 1:
            raise InvalidInput(f"an out_scale of {out_scale} is below 1", field="out_scale")
        self._upscaler = upscaler
        self._self_ensemble = self_ensemble
        self._back_projection = back_projection
        self._info = upscaler.info
        if out_scale is not None:
            self._info = replace(upscaler.info, scale=out_scale)

    @property
    def info(self) -> UpscalerInfo:
        return self._info

    def upscale(self, images: Tensor) -> Tensor:
        """See `Upscaler.upscale`.

        Raises:
            InvalidInput: what enlarges returned no enlarged image, see `require_enlarged`.
        """
        # Checked here: a resize would hide that the size is wrong.
        work = self_ensemble if self._self_ensemble else enlarge
        enlarged = work(self._upscaler, images)
        if self._back_projection:
            enlarged = back_project(enlarged, images, self._back_projection)
        return resize_to(enlarged, images, self._info.scale)


def self_ensemble(upscaler: Upscaler, images: Tensor) -> Tensor:
    """The mean of the enlargements of an image in its eight flips and turns, each turned back.

    Timofte et al., "Seven Ways to Improve Example-Based Single Image Super Resolution", CVPR 2016;
    EDSR's "+". PSNR rises by about 0.1 dB, and what an adversarial loss has invented is blurred.

    Args:
        upscaler: what enlarges.
        images: ``(N, 3, H, W)`` as for `Upscaler.upscale`.

    Returns:
        What `Upscaler.upscale` returns.
    """
    total = None
    for turns in range(4):
        for mirrored in (False, True):
            cancellation.check()
            turned = torch.rot90(images.flip(3) if mirrored else images, turns, (2, 3))
            enlarged = torch.rot90(enlarge(upscaler, turned), -turns, (2, 3))
            enlarged = enlarged.flip(3) if mirrored else enlarged
            total = enlarged.contiguous() if total is None else total.add_(enlarged)
    return images if total is None else total.div_(8)


def back_project(enlarged: Tensor, images: Tensor, steps: int) -> Tensor:
    """Move an enlargement towards one that shrinks to what was given.

    Irani and Peleg, "Improving Resolution by Image Registration", 1991, for one image: what is
    missing after MATLAB's bicubic reduction is enlarged bicubically and added, ``steps`` times. It
    is for LR images that are such reductions; it sharpens the noise and the blocks of others.

    Args:
        enlarged: ``(N, 3, s * H, s * W)`` float32 in [0, 1].
        images: ``(N, 3, H, W)`` floating point in [0, 1], what was enlarged.
        steps: ten are plenty.

    Returns:
        Like ``enlarged``, clamped to [0, 1].
    """
    low, (height, width) = images.to(enlarged.device, torch.float32), images.shape[2:]
    for _ in range(steps):
        cancellation.check()
        missing = low - imresize(enlarged, size=(height, width))
        enlarged = enlarged + imresize(missing, size=(enlarged.shape[2], enlarged.shape[3]))
    return enlarged.clamp(0, 1)


def resize_to(enlarged: Tensor, images: Tensor, scale: float) -> Tensor:
    """Resize an enlargement to ``scale`` times the size of ``images``, as MATLAB does.

    Returns:
        ``enlarged`` itself if it has that size; else clamped to [0, 1].
    """
    size = math.ceil(scale * images.shape[2]), math.ceil(scale * images.shape[3])
    if enlarged.shape[2:] == size:
        return enlarged
    return imresize(enlarged, size=size).clamp(0, 1)
