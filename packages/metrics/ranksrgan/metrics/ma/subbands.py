"""Statistics of oriented subbands: the middle 45 features of Ma.

C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang, "Learning a no-reference quality metric for single-image
super-resolution", Computer Vision and Image Understanding 158, 2017, section 3.2; after A. K.
Moorthy, A. C. Bovik, "Blind image quality assessment: from natural scene statistics to perceptual
quality", IEEE Trans. Image Processing 20(12), 2011.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ranksrgan.metrics.ggd import FLOOR, ggd_shape
from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.ma.normalise import ma_normalise
from ranksrgan.metrics.ma.pyramid import ORIENTATIONS, steerable_pyramid
from ranksrgan.metrics.ma.structure import ma_structure

# What is left out around the normalised bands of the two scales.
_MARGINS = (16, 8)

# The last orientation has no parent: the published software leaves it out by its loop's bound.
_WITH_PARENT = ORIENTATIONS - 1

#: Sides of a plane that has all features.
MIN_SIDE = 45


def subband_features(plane: Tensor) -> Tensor:
    """The features of one plane.

    Shapes of generalised Gaussians that fit the normalised subbands (six orientations of the first
    scale, six of the second, six of both together); structural correlation of each raw band with
    the high-pass residual, likewise; and of each pair of normalised orientations of the first
    scale.

    Args:
        plane: ``(H, W)`` float64 on the 0..255 scale, both sides `MIN_SIDE` or more.

    Returns:
        ``(45,)`` float64 on the CPU.
    """
    height, width = plane.shape
    highpass, fine, coarse = steerable_pyramid(plane)
    enlarged = torch.empty_like(fine)
    for band, small in zip(enlarged, coarse, strict=True):  # one at a time, for the cache
        band.copy_(imresize(small, size=(height, width)))
    raw = [*fine, *enlarged, highpass]
    with_highpass = ma_structure(raw, [(band, len(raw) - 1) for band in range(len(raw) - 1)])
    del raw, highpass  # the planes of a large image fill the memory

    parents = enlarged[:_WITH_PARENT]
    if height % 2 or width % 2:  # they are twice as large and cut, not resized to fit
        for band, small in zip(parents, coarse, strict=False):
            band.copy_(imresize(small, 2.0)[:height, :width])
    first = ma_normalise(fine, parents, _MARGINS[0])
    del fine, enlarged, parents
    second = ma_normalise(coarse, coarse[:0], _MARGINS[1])
    between = ma_structure(list(first), list(itertools.combinations(range(ORIENTATIONS), 2)))
    return torch.cat([_shapes(first, second), with_highpass.cpu(), between.cpu()])


def _shapes(first: Tensor, second: Tensor) -> Tensor:
    """``(18,)`` of the subbands, whose means are 0, of each scale and of both scales together."""
    distances, squares, counts = [], [], []
    for scale in (first, second):
        distances.append(vector_norm(scale, 1, dim=2).sum(dim=1))
        squares.append(vector_norm(scale, 2, dim=2).square().sum(dim=1))
        counts.append(torch.full_like(squares[-1], scale[0].numel()))
    distance, square, count = (
        torch.cat([*of_scales, of_scales[0] + of_scales[1]])
        for of_scales in (distances, squares, counts)
    )
    return ggd_shape(square / (count - 1) / ((distance / count).square() + FLOOR)).cpu()
