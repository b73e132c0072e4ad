"""Visual information fidelity in the pixel domain (VIFp).

The form without wavelets that the authors of VIF (`ranksrgan.metrics.vif`) published beside it, and
that most tables of "VIF" by Python programs mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.metrics.filters import gaussian, in_pieces, local_means
from ranksrgan.metrics.full_reference import LumaScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.vif import distortion_channel, share_kept

_WINDOWS = (17, 9, 5, 3)  # by scale, finest first; sigma is a fifth of it
_NEURAL_NOISE = 2.0  # variance of the noise in the observer
_TOLERANCE = 1e-10  # of variances

#: At the coarsest scale one window is left.
MIN_SIDE = 41


def vifp(images: Tensor, references: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """VIFp; higher is better, 1 for equal images, above 1 where contrast is raised.

    The share of the reference's information that the image keeps, at four scales of Gaussian
    windows; each scale is the one before it, smoothed with its own window, and every second pixel.
    This is the authors' program ``vifp_mscale``. Its values are not those of `vif`.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8. Not exchangeable with ``images``.
        border: pixels to leave out on every side.
        luma: ``"y"``, not rounded, or ``"gray"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``, 0 or more.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side is below 41 pixels without the border.
        UndefinedScore: the reference is flat: it gives no information.
    """
    pairs = luma_plane_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack([_fidelity(x, y, position) for position, (x, y) in enumerate(pairs)])


class Vifp(LumaScorer):
    """`vifp` as a `Scorer`."""

    metric = "vifp"
    higher_is_better = True
    min_side = MIN_SIDE
    lowest, highest = 0.0, math.inf
    measure = staticmethod(vifp)


def _fidelity(image: Tensor, reference: Tensor, position: int) -> Tensor:
    if min(image.shape) < MIN_SIDE:
        raise ImageTooSmall(
            f"{image.shape[0]} x {image.shape[1]} pixels are too few for the four scales of VIFp: "
            f"{MIN_SIDE} x {MIN_SIDE} are wanted",
            field="images",
        )
    planes = torch.stack([reference, image])
    information = image.new_zeros(2)
    for scale, size in enumerate(_WINDOWS):
        window = gaussian(size, size / 5)
        if scale:
            planes = local_means(planes, window)[:, ::2, ::2]
        x, y = planes
        moments = local_means(torch.stack([x, y, x * x, y * y, x * y]), window)
        gain, noise, variance = distortion_channel(moments, _TOLERANCE)
        kept = in_pieces(torch.log2, 1 + gain**2 * variance / (noise + _NEURAL_NOISE))
        there = in_pieces(torch.log2, 1 + variance / _NEURAL_NOISE)
        information = information + plane_mean(torch.stack([kept, there])) * kept.numel()
    return share_kept(information, position, "VIFp")
