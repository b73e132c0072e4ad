"""Visual information fidelity (VIF), in the wavelet domain.

H. R. Sheikh, A. C. Bovik, "Image information and visual quality", IEEE Transactions on Image
Processing 15(2), 2006.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.metrics.filters import in_pieces, local_means
from ranksrgan.metrics.full_reference import LumaScorer, luma_plane_pairs, plane_mean
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.steerable_pyramid import MIN_SIDE, bands

_LEVELS = 4
_BLOCK = 3  # coefficients along a side of the blocks that are one vector
_NEURAL_NOISE = 0.4  # variance of the noise in the observer
_TOLERANCE = 1e-15  # of variances in the distortion channel
# Of the largest eigenvalue of a covariance. Directions below it do not occur in the reference.
_RANK = 1e-12


def vif(images: Tensor, references: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """VIF; higher is better, 1 for equal images, above 1 where contrast is raised.

    How much of the information that the reference gives an observer the image still gives, in two
    orientations and four scales of a steerable pyramid. The reference is a Gaussian scale mixture
    of blocks of 3 x 3 coefficients, the distortion a gain and noise for each block. This is the
    authors' program ``vifvec``, whose published values are made with ``luma="gray"``; `vifp` is
    their faster one in the pixel domain, with other values.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8. Not exchangeable with ``images``.
        border: pixels to leave out on every side.
        luma: ``"y"``, not rounded, or ``"gray"``.

    Returns:
        ``(N,)`` float64 on the device of ``images``, 0 or more.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side is below 72 pixels without the border.
        UndefinedScore: the reference is flat: it gives no information.
    """
    pairs = luma_plane_pairs(images, references, border, luma, rounded=luma != "y")
    return torch.stack([_fidelity(x, y, position) for position, (x, y) in enumerate(pairs)])


class Vif(LumaScorer):
    """`vif` as a `Scorer`."""

    metric = "vif"
    higher_is_better = True
    min_side = MIN_SIDE
    lowest, highest = 0.0, math.inf
    measure = staticmethod(vif)


def distortion_channel(moments: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gain and variance of the noise that turn x into y, by local regression.

    Args:
        moments: ``(5, ...)``: the local means of x, y, x², y² and xy.
        tolerance: variances below it count as 0.

    Returns:
        Gain and noise, both 0 or more, and the variance of x.
    """
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = moments
    variance_x, variance_y = mean_xx - mean_x**2, mean_yy - mean_y**2
    variance_x = torch.where(variance_x < tolerance, 0.0, variance_x)
    variance_y = torch.where(variance_y < tolerance, 0.0, variance_y)
    covariance = mean_xy - mean_x * mean_y
    gain = torch.where(variance_x > 0, covariance / variance_x, 0.0)
    # Where the gain would be negative, y tells nothing of x and is noise alone.
    gain = torch.where(variance_y > 0, gain, 0.0).clamp(min=0)
    noise = torch.where(gain > 0, variance_y - gain * covariance, variance_y)
    return gain, noise.clamp(min=0), variance_x


def share_kept(information: Tensor, position: int, metric: str) -> Tensor:
    """What the image keeps over what the reference has, from the two as ``(2,)``.

    Raises:
        UndefinedScore: there is none in the reference.
    """
    kept, there = information.unbind()
    if not there > 0:
        raise UndefinedScore(
            f"{metric} is the share of the reference's information that the image keeps, and "
            f"reference {position} has none: it is flat",
            field="references",
        )
    return kept / there


def _fidelity(image: Tensor, reference: Tensor, position: int) -> Tensor:
    if min(image.shape) < MIN_SIDE:
        raise ImageTooSmall(
            f"{image.shape[0]} x {image.shape[1]} pixels are too few for the four scales of VIF: "
            f"{MIN_SIDE} x {MIN_SIDE} are wanted",
            field="images",
        )
    information = image.new_zeros(2)
    levels = zip(bands(image, _LEVELS), bands(reference, _LEVELS), strict=True)
    for level, pair in enumerate(levels):
        window = 2 ** (_LEVELS - level) + 1
        for distorted, original in zip(*pair, strict=True):
            information = information + _information(distorted, original, window)
    return share_kept(information, position, "VIF")


def _information(distorted: Tensor, original: Tensor, window: int) -> Tensor:
    """Of one band in bits, ``(2,)``: what the image keeps and what the reference has.

    The distortion of a block is estimated in a window around it; blocks whose window would reach
    over the edge are left out.
    """
    rows, columns = (side // _BLOCK for side in original.shape)
    distorted = distorted[: rows * _BLOCK, : columns * _BLOCK]
    original = original[: rows * _BLOCK, : columns * _BLOCK]
    margin = math.ceil((window // 2) / _BLOCK)  # in blocks
    inside = slice(margin * _BLOCK + _BLOCK // 2 - window // 2, None)
    x, y = original[inside, inside], distorted[inside, inside]
    moments = local_means(
        torch.stack([x, y, x * x, y * y, x * y]), [1 / window] * window, step=_BLOCK
    )
    eigenvalues, scales = _scale_mixture(original)
    scales = scales[margin : rows - margin, margin : columns - margin]
    gain, noise, _ = distortion_channel(
        moments[:, : scales.shape[0], : scales.shape[1]], _TOLERANCE
    )
    kept, there = torch.zeros_like(scales), torch.zeros_like(scales)
    for eigenvalue in eigenvalues:
        signal = scales * eigenvalue
        kept += in_pieces(torch.log2, 1 + gain**2 * signal / (noise + _NEURAL_NOISE))
        there += in_pieces(torch.log2, 1 + signal / _NEURAL_NOISE)
    return plane_mean(torch.stack([kept, there])) * scales.numel()


def _scale_mixture(original: Tensor) -> tuple[list[float], Tensor]:
    """The Gaussian scale mixture of the reference: its eigenvalues, and the scale of each block.

    The covariance is that of all blocks; the scale of one of the blocks side by side is its square
    length in the metric of the covariance, over the number of coefficients.
    """
    height, width = original.shape
    offsets = [(i, j) for i in range(_BLOCK) for j in range(_BLOCK)]
    overlapping = torch.stack(
        [original[i : height - _BLOCK + 1 + i, j : width - _BLOCK + 1 + j] for i, j in offsets]
    )
    overlapping = overlapping - plane_mean(overlapping)[:, None, None]
    covariance = original.new_zeros(len(offsets), len(offsets))
    for i, coefficients in enumerate(overlapping):
        covariance[i:, i] = plane_mean(overlapping[i:] * coefficients)
    eigenvalues, vectors = torch.linalg.eigh(covariance.cpu())  # of the lower triangle
    blocks = torch.stack([original[i::_BLOCK, j::_BLOCK] for i, j in offsets])
    scales = torch.zeros_like(blocks[0])
    occurring: list[float] = []
    for eigenvalue, vector in zip(eigenvalues.tolist(), vectors.T.to(original), strict=True):
        if eigenvalue > _RANK * float(eigenvalues[-1]):
            occurring.append(eigenvalue)
            along = (vector[:, None, None] * blocks).sum(dim=0)
            scales += along.square() / eigenvalue
    return occurring, scales / len(offsets)
