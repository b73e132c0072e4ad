"""`ranksrgan.metrics.nss_features` with a gradient.

Two steps of the published features have no useful derivative and are left out: the luma is not
rounded to 8 bits, and the shapes of the fits are not rounded to the 0.001 of a table. All else is
the same, undefined features included.

The function has jumps: when a value changes its sign, another number of values makes up the
deviation of either side. The gradient is that of the smooth pieces between them. Where a local
deviation, a value or a product is exactly 0, the gradient of that term counts as 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.luma import Convention, shave
from ranksrgan.metrics.mscn import mscn
from ranksrgan.metrics.nss_features import BLOCK, FEATURES, nss_features
from ranksrgan.metrics.reference.nss_features import neighbour_products
from ranksrgan.metrics.reference.patch_crops import GREY
from ranksrgan.metrics.smooth_aggd import fit_smooth_aggd

# MATLAB's rgb2ycbcr of R, G, B in [0, 1]: black, then the weights.
_BLACK = 16.0
_Y = (65.481, 128.553, 24.966)

# Images at a time, so that their planes stay in a core's cache: 1.5 times as fast as 24.
_TOGETHER = 4


def smooth_nss_features(images: Tensor, border: int = 0, luma: Convention = "y") -> Tensor:
    """Features of each block of 96 x 96, in row order; gradients flow to ``images``, once.

    Args:
        images: ``(N, 3|1, H, W)``, floating point, 0 black and 1 white, or uint8; values outside
            that range are taken as they are.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.

    Returns:
        ``(N, P, 36)`` float64, what they are is said in `ranksrgan.metrics.nss_features`. P is 0
        for an image that holds no whole block.

    Raises:
        ImageTooSmall: the border leaves no pixel.
    """
    starts = range(0, max(1, len(images)), _TOGETHER)
    parts = [_features(images[k : k + _TOGETHER], border, luma) for k in starts]
    return torch.cat(parts)


def straight_through_nss_features(images: Tensor, border: int = 0) -> Tensor:
    """The published features, roundings included, with the gradient of the smooth ones.

    That is the straight-through estimator (Bengio et al., 2013, arXiv:1308.3432): the forward pass
    sees an image as it will be stored, in 8 bits, and takes a twentieth of the time of the smooth
    one; the backward pass takes each rounding for the identity.

    Args:
        images: as for `nss_features`; gradients flow, once.
        border: pixels to leave out on every side.

    Returns:
        ``(N, P, 36)`` float64 of luma ``y``, NaN for a gap, see `nss_features`. No gradient comes
        from where either form has a gap.

    Raises:
        InvalidInput, ImageTooSmall: see `nss_features`.
    """
    features: Tensor = _StraightThrough.apply(images, border)  # type: ignore[no-untyped-call]
    return features


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, border: int) -> Tensor:
        ctx.save_for_backward(images)
        ctx.border = border
        return nss_features(images, border)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (images,) = ctx.saved_tensors
        # One after the other: the graph of a large image is many times its size.
        gradients = [
            _pull_back(image[None], own[None], ctx.border)
            for image, own in zip(images, gradient, strict=True)
        ]
        return torch.cat(gradients), None


def _pull_back(image: Tensor, gradient: Tensor, border: int) -> Tensor:
    with torch.enable_grad():
        image = image.detach().requires_grad_()
        features = smooth_nss_features(image, border)
    whole = features.isfinite() & gradient.isfinite()
    found: Tensor
    (found,) = torch.autograd.grad(features, image, gradient.where(whole, 0.0))
    return found


def _features(images: Tensor, border: int, luma: Convention) -> Tensor:
    planes = shave(_smooth_luma(images, luma), border)
    rows, columns = planes.shape[1] // BLOCK, planes.shape[2] // BLOCK
    if rows * columns == 0:
        return planes.new_empty((len(planes), 0, FEATURES))
    full = planes[:, : rows * BLOCK, : columns * BLOCK]
    half = imresize(full, 0.5)
    parts = [_block_features(full, BLOCK), _block_features(half, BLOCK // 2)]
    return torch.cat(parts, dim=1).reshape(len(planes), rows * columns, FEATURES)


def _smooth_luma(images: Tensor, convention: Convention) -> Tensor:
    """``(N, H, W)`` float64 on the 0..255 scale, never rounded."""
    pixels = images.double() if images.is_floating_point() else images.double() / 255
    if pixels.shape[1] == 1:
        return pixels[:, 0] * 255
    red, green, blue = pixels.unbind(1)
    if convention == "gray":
        plane: Tensor = (GREY[0] * red + GREY[1] * green + GREY[2] * blue) * 255
    else:
        plane = _BLACK + _Y[0] * red + _Y[1] * green + _Y[2] * blue
    return plane


def _block_features(planes: Tensor, side: int) -> Tensor:
    """``(N * P, 18)`` of the P blocks that make up each plane."""
    count, height, width = planes.shape
    blocks = mscn(planes.contiguous()).normalised
    blocks = blocks.reshape(count, height // side, side, width // side, side)
    blocks = blocks.transpose(2, 3).reshape(-1, side, side)
    fit = fit_smooth_aggd(blocks.flatten(1))
    features = [fit.alpha, (fit.left + fit.right) / 2]
    for products in neighbour_products(blocks):
        fit = fit_smooth_aggd(products.flatten(1))
        features += [fit.alpha, fit.mean, fit.left, fit.right]
    return torch.stack(features, dim=1)
