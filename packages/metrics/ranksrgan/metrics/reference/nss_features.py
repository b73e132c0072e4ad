"""`nss_features` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from ranksrgan.metrics.aggd import fit_aggd
from ranksrgan.metrics.luma import luma, shave
from ranksrgan.metrics.reference.mscn import mscn

#: Side of the blocks that features are taken from, at full size; half of it at half size.
BLOCK = 96

# Neighbours whose products are modelled: left, above, and the two above left and right, as shifts
# (rows, columns) of the block.
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

# Half of the taps of MATLAB's imresize to half the size, outermost first.
_HALF = tuple(weight / 256 for weight in (-3, -9, 29, 111))


def nss_features(images: Tensor, table: Tensor, border: int, gray: bool, single: bool) -> Tensor:
    """The natural-scene statistics of NIQE for each block of each image's luma.

    Args:
        images: ``(N, 3|1, H, W)``, uint8, or float32 or float64 in [0, 1]; each side holds a whole
            block without the border.
        table: of `ranksrgan.metrics.aggd.aggd_table`.
        border: pixels to leave out on every side.
        gray: MATLAB's rgb2gray, not rgb2ycbcr.
        single: normalise and sum in float32.

    Returns:
        ``(N, P, 36)`` float64.
    """
    blocks = [(side - 2 * border) // BLOCK for side in images.shape[2:]]
    features = images.new_empty((len(images), blocks[0] * blocks[1], 36), dtype=torch.float64)
    for index, image in enumerate(images):  # memory for one at a time
        plane = shave(luma(image[None], "gray" if gray else "y"), border)[0]
        # The remainder is cut off before filtering, so that the filters' border is there.
        full = plane[: blocks[0] * BLOCK, : blocks[1] * BLOCK]
        features[index, :, :18] = block_features(full, BLOCK, table, single)
        features[index, :, 18:] = block_features(halve(full), BLOCK // 2, table, single)
    return features


def halve(plane: Tensor) -> Tensor:
    """MATLAB's bicubic imresize of ``(H, W)`` float64 to half its size, exact for whole levels."""
    for _ in range(2):
        length = plane.shape[0]
        positions = torch.arange(-3, length + 3, device=plane.device)
        positions = torch.where(positions < 0, -1 - positions, positions)
        positions = torch.where(positions >= length, 2 * length - 1 - positions, positions)
        padded = plane.index_select(0, positions)
        pairs = [padded[k : k + length : 2] + padded[7 - k :: 2][: length // 2] for k in range(4)]
        total = _HALF[0] * pairs[0]
        for weight, pair in zip(_HALF[1:], pairs[1:], strict=True):
            total = total + weight * pair
        plane = total.T
    return plane


def block_features(plane: Tensor, side: int, table: Tensor, single: bool) -> Tensor:
    """``(P, 18)`` of the P blocks of ``side`` x ``side`` that make up ``(H, W)`` float64."""
    normalised = mscn(plane[None])[0][0]
    blocks = cut(normalised.float() if single else normalised, side)
    fit = fit_aggd(blocks.flatten(1), table)
    features = [fit.alpha, (fit.left + fit.right) / 2]
    for products in neighbour_products(blocks):
        fit = fit_aggd(products.flatten(1), table)
        features += [fit.alpha, fit.mean, fit.left, fit.right]
    return torch.stack(features, dim=1)


def cut(plane: Tensor, side: int) -> Tensor:
    """The blocks ``(P, side, side)`` of ``(H, W)``, row by row."""
    rows, columns = plane.shape[0] // side, plane.shape[1] // side
    blocks = plane.reshape(rows, side, columns, side).transpose(1, 2)
    return blocks.reshape(rows * columns, side, side)


def neighbour_products(blocks: Tensor) -> list[Tensor]:
    """Products with the four neighbours, each of the shape of ``blocks``.

    Around the edge of the block itself: that is how the published software does it.
    """
    return [blocks * blocks.roll(shift, dims=(1, 2)) for shift in _NEIGHBOURS]
