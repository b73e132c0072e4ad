"""What value of the metric a Ranker's score stands for.

A ranking loss fixes neither the offset nor the unit of the scores, so they are fitted: a straight
line, and NTIRE's polynomial of third order (see `ranksrgan.metrics.plcc`), which may bend. The
errors are those on the images that were fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial import Polynomial
from torch import Tensor

GROUPS = 10


@dataclass(frozen=True)
class Tenth:
    """A tenth of the images by predicted score.

    Attributes:
        images: how many.
        predicted: mean score.
        truth: mean value of the metric.
        line: what the calibration's line says of the mean score.
        spread: standard deviation of the metric's values.
    """

    images: int
    predicted: float
    truth: float
    line: float
    spread: float


@dataclass(frozen=True)
class Calibration:
    """Fits of the metric's value by the score s; errors in units of the metric.

    Attributes:
        images: how many were fitted: those where both values are finite.
        line: intercept and slope.
        cubic: coefficients of 1, s, s² and s³.
        rmse: of the line.
        cubic_rmse: of the polynomial, never larger.
        spread: standard deviation of the metric's values: the error of their mean.
        tenths: in ascending order of the score.
    """

    images: int
    line: tuple[float, float]
    cubic: tuple[float, float, float, float]
    rmse: float
    cubic_rmse: float
    spread: float
    tenths: tuple[Tenth, ...]


def calibrate(predicted: Tensor, truth: Tensor) -> Calibration | None:
    """Fit the metric's value by the score.

    A polynomial has no higher degree than there are different scores to tell it from a lower one:
    where all are equal, both fits are the mean.

    Args:
        predicted: ``(n,)`` scores.
        truth: ``(n,)`` values of the metric. Images where one of the two is infinite have no part.

    Returns:
        None if no image is left.
    """
    finite = predicted.isfinite() & truth.isfinite()
    if not bool(finite.any()):
        return None
    x, y = predicted[finite].double().numpy(), truth[finite].double().numpy()
    line, cubic = _fit(x, y, 1), _fit(x, y, 3)
    tenths = []
    for group in np.array_split(np.argsort(x, kind="stable"), min(GROUPS, len(x))):
        mean = float(x[group].mean())
        tenths.append(
            Tenth(
                len(group), mean, float(y[group].mean()), float(line(mean)), float(y[group].std())
            )
        )
    intercept, slope = _coefficients(line, 1)
    c0, c1, c2, c3 = _coefficients(cubic, 3)
    return Calibration(
        images=len(x),
        line=(intercept, slope),
        cubic=(c0, c1, c2, c3),
        rmse=_rmse(line(x) - y),
        cubic_rmse=_rmse(cubic(x) - y),
        spread=float(y.std()),
        tenths=tuple(tenths),
    )


def _fit(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], degree: int) -> Polynomial:
    degree = min(degree, len(np.unique(x)) - 1)
    # full=True: where scores differ by rounding only, the solution of least norm will do.
    polynomial, _ = Polynomial.fit(x, y, degree, full=True)
    return polynomial


def _coefficients(polynomial: Polynomial, degree: int) -> list[float]:
    coefficients = polynomial.convert().coef.tolist()
    return coefficients + [0.0] * (degree + 1 - len(coefficients))


def _rmse(errors: npt.NDArray[np.float64]) -> float:
    return math.sqrt(float(np.square(errors).mean()))
