"""Feature similarity, of luma (FSIM) and with colour (FSIMc).

L. Zhang, L. Zhang, X. Mou, D. Zhang, "FSIM: a feature similarity index for image quality
assessment", IEEE Transactions on Image Processing 20(8), 2011.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, UndefinedScore
from ranksrgan.metrics.filters import gradient_magnitude, in_pieces, mean_pool, similarity
from ranksrgan.metrics.full_reference import FullReferenceScorer, channel_pairs, plane_mean
from ranksrgan.metrics.phase_congruency import MIN_SIDE, is_flat, phase_congruency

# The published constants, for grey levels of 0 to 255.
_T1 = 0.85  # of phase congruency
_T2 = 160.0  # of the gradient's magnitude
_T34 = 200.0  # of the two colour differences
_LAMBDA = 0.03

# Red, green and blue to Y, I and Q, in the three digits that the authors use.
_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))


def fsim(images: Tensor, references: Tensor, border: int = 0) -> Tensor:
    """FSIM; higher is better, 1 for equal images.

    How similar phase congruency and gradient are, each pixel weighted with the larger of the two
    phase congruencies. The luma is the authors' own (Y of YIQ, not rounded). Images whose shorter
    side is 384 pixels or more are first averaged down to one of about 256, as in the authors'
    program.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8.
        references: of the same shape, floating point or uint8.
        border: pixels to leave out on every side.

    Returns:
        ``(N,)`` float64 on the device of ``images``, 0 to 1.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side is below 6 pixels without the border.
        UndefinedScore: neither image nor reference has any phase congruency, which is what pixels
            are weighted with: both are flat, or nothing in them rises above noise.
    """
    return _scores(images, references, border, colour=False)


def fsimc(images: Tensor, references: Tensor, border: int = 0) -> Tensor:
    """FSIMc, which also compares the colour differences I and Q.

    The same as `fsim` for images of one channel. Everything else is as in `fsim`.
    """
    return _scores(images, references, border, colour=True)


class Fsim(FullReferenceScorer):
    """`fsim` as a `Scorer`."""

    metric = "fsim"
    higher_is_better = True
    min_side = MIN_SIDE
    lowest, highest = 0.0, 1.0
    measure = staticmethod(fsim)


class Fsimc(FullReferenceScorer):
    """`fsimc` as a `Scorer`."""

    metric = "fsimc"
    higher_is_better = True
    min_side = MIN_SIDE
    lowest, highest = 0.0, 1.0
    measure = staticmethod(fsimc)


def _scores(images: Tensor, references: Tensor, border: int, *, colour: bool) -> Tensor:
    pairs = channel_pairs(images, references, border, "rgb", rounded=True)
    return torch.stack(
        [
            _similarity(image, reference, colour, position)
            for position, (image, reference) in enumerate(pairs)
        ]
    )


def _similarity(image: Tensor, reference: Tensor, colour: bool, position: int) -> Tensor:
    """Of two ``(3|1, H, W)``."""
    shorter = min(image.shape[1:])
    if shorter < MIN_SIDE:
        raise ImageTooSmall(
            f"{image.shape[1]} x {image.shape[2]} pixels are too few for FSIM: {MIN_SIDE} x "
            f"{MIN_SIDE} are wanted",
            field="images",
        )
    image, reference = _yiq(image), _yiq(reference)
    flat = is_flat(image[0]) and is_flat(reference[0])
    size = max(1, math.floor(shorter / 256 + 0.5))
    image, reference = mean_pool(image, size), mean_pool(reference, size)
    congruency, congruency_of_reference = phase_congruency(torch.stack([image[0], reference[0]]))
    gradient, gradient_of_reference = (
        gradient_magnitude(planes[0], side=3 / 16, middle=10 / 16) for planes in (image, reference)
    )
    weights = torch.maximum(congruency, congruency_of_reference)
    if flat or not weights.max() > 0:
        raise UndefinedScore(
            f"FSIM weighs pixels by structure, and neither image {position} nor its reference has "
            "any that is more than noise",
            field="images",
        )
    alike = similarity(congruency, congruency_of_reference, _T1)
    alike = alike * similarity(gradient, gradient_of_reference, _T2)
    if colour and len(image) == 3:
        chroma = similarity(image[1:], reference[1:], _T34).prod(dim=0)
        alike = alike * _real_power(chroma, _LAMBDA)
    return plane_mean(alike * weights) / plane_mean(weights)


def _yiq(image: Tensor) -> Tensor:
    if len(image) == 1:
        return image
    red, green, blue = image
    return torch.stack([r * red + g * green + b * blue for r, g, b in _YIQ])


def _real_power(values: Tensor, exponent: float) -> Tensor:
    """Real part of the power: colours so opposed that their similarity is negative have one."""
    powers = in_pieces(lambda piece: piece.abs().pow(exponent), values)
    return torch.where(values < 0, powers * math.cos(math.pi * exponent), powers)
