"""Multi-scale structural similarity (MS-SSIM).

Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image quality
assessment", 37th Asilomar Conference on Signals, Systems and Computers, 2003.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics.full_reference import LumaScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.ssim import WINDOW, ssim_maps

#: Exponents of the five scales, finest first, as published; they add up to 1.0001.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

#: The window fits into the coarsest scale without its last pixel being repeated.
MIN_SIDE = WINDOW * 2 ** (len(WEIGHTS) - 1)

Pooling = Literal["product", "sum"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


def ms_ssim(
    images: Tensor,
    references: Tensor,
    border: int = 0,
    luma: Convention = "y",
    pooling: Pooling = "product",
) -> Tensor:
    """MS-SSIM; higher is better, 1 for equal images.

    The windows and constants are those of `ssim`. Luminance counts at the coarsest scale alone.
    Each scale is the one before it, averaged over 2 x 2 pixels; where a side is odd, its last pixel
    is repeated.

    The author's program has two ways to pool the scales. ``pooling="product"`` is equation 7 of the
    paper, the program's default and what nearly everybody reports. ``pooling="sum"`` is the
    weighted sum, with the weights scaled to add up to 1; some published values are made with it.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.
        luma: ``"y"``, not rounded, or ``"gray"``, rounded, as MATLAB programs use it.
        pooling: ``"product"`` or ``"sum"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``: 0 to 1 for the product, -1 to 1 for the sum.
        In the product a scale whose mean is negative counts as 0: no real power of it exists.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side is below 176 pixels without the border.
    """
    _check_pooling(pooling)
    pairs = luma_plane_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack([_pool(_scale_means(x, y), pooling) for x, y in pairs])


class MsSsim(LumaScorer):
    """`ms_ssim` as a `Scorer`.

    Args:
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        pooling: ``"product"`` or ``"sum"``.
    """

    metric = "ms_ssim"
    higher_is_better = True
    min_side = MIN_SIDE
    lowest, highest = 0.0, 1.0
    measure = staticmethod(ms_ssim)

    def __init__(
        self, border: int = 0, luma: Convention = "y", pooling: Pooling = "product"
    ) -> None:
        super().__init__(border, luma)
        _check_pooling(pooling)
        self._options["pooling"] = pooling
        if pooling == "sum":
            self.lowest = -1.0


def _check_pooling(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise InvalidInput(
            f"there is no pooling {pooling!r}: it is one of {', '.join(POOLINGS)}", field="pooling"
        )


def _scale_means(x: Tensor, y: Tensor) -> Tensor:
    """``(5,)``: mean contrast and structure of four scales, then the mean SSIM of the coarsest."""
    if min(x.shape) < MIN_SIDE:
        raise ImageTooSmall(
            f"{x.shape[0]} x {x.shape[1]} pixels are too few for the five scales of MS-SSIM: "
            f"{MIN_SIDE} x {MIN_SIDE} are wanted",
            field="images",
        )
    means = []
    for _ in WEIGHTS[:-1]:
        _, structure = ssim_maps(x, y)
        means.append(plane_mean(structure))
        x, y = _halve(x), _halve(y)
    luminance, structure = ssim_maps(x, y)
    means.append(plane_mean(luminance * structure))
    return torch.stack(means)


def _halve(plane: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels; the last pixel of an odd side is repeated."""
    height, width = plane.shape
    even = F.pad(plane[None], (0, width % 2, 0, height % 2), mode="replicate")[0]
    rows = even[::2] + even[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) / 4


def _pool(means: Tensor, pooling: Pooling) -> Tensor:
    weights = means.new_tensor(WEIGHTS)
    if pooling == "sum":
        return (means * weights).sum() / weights.sum()
    return means.clamp(min=0).pow(weights).prod()
