"""Blur kernels of the second-order degradation.

Gaussians whose exponent has a power, plateaus, and the low-pass filter that rings: sections 3.2 and
3.4 of Real-ESRGAN (Wang et al., ICCV Workshops 2021, arXiv:2107.10833). All are square, of odd
side, centred on the middle pixel and sum to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GaussianKernel:
    """A generalised Gaussian, or a plateau, of two widths along turned axes.

    With q = x' inv(S) x, where S has the deviations along the axes, the weight at x is
    exp(-q^power / 2), and 1 / (1 + q^power) for a plateau. Power 1 is the usual Gaussian.

    Attributes:
        size: side in pixels, odd.
        sigma: standard deviations in pixels along the first and the second axis.
        angle: of the first axis against the rows, in radians, from right to down.
        power: of the quadratic form.
        plateau: which of the two shapes.
    """

    size: int
    sigma: tuple[float, float]
    angle: float = 0.0
    power: float = 1.0
    plateau: bool = False

    def weights(self) -> Weights:
        """``(size, size)`` float64."""
        y, x = _grid(self.size)
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        along = (cosine * x + sine * y) / self.sigma[0]
        across = (cosine * y - sine * x) / self.sigma[1]
        form = (along**2 + across**2) ** self.power
        weights = 1 / (1 + form) if self.plateau else np.exp(-form / 2)
        return _normalised(weights)


@dataclass(frozen=True)
class SincKernel:
    """The ideal circular low-pass filter, cut off at the kernel's edge: rings and overshoots.

    The weight at distance r is cutoff * J1(cutoff * r) / (2 pi r), the inverse Fourier transform of
    a disc (equation 6).

    Attributes:
        size: side in pixels, odd.
        cutoff: in radians a pixel, at most pi.
    """

    size: int
    cutoff: float

    def weights(self) -> Weights:
        """``(size, size)`` float64; some are negative."""
        y, x = _grid(self.size)
        distance = np.hypot(y, x)
        centre = distance == 0
        distance[centre] = 1.0
        bessel = torch.special.bessel_j1(torch.from_numpy(self.cutoff * distance)).numpy()
        weights = self.cutoff * bessel / (2 * math.pi * distance)
        weights[centre] = self.cutoff**2 / (4 * math.pi)  # the limit at 0
        return _normalised(weights)


def _grid(size: int) -> tuple[Weights, Weights]:
    """Rows and columns counted from the middle."""
    places = np.arange(size, dtype=np.float64) - size // 2
    y, x = np.meshgrid(places, places, indexing="ij")
    return y, x


def _normalised(weights: Weights) -> Weights:
    normalised: Weights = weights / weights.sum()
    return normalised
