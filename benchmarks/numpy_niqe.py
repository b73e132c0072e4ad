"""NIQE written the straightforward way in NumPy and SciPy: what the operators are measured against.

Step by step as in the paper and the MATLAB release, and as the Python versions in public use go
about it: the whole plane through `scipy.ndimage.correlate`, then for each block, each map and each
scale an AGGD fit with boolean indexing and a scan of a table that is made for it. float64
throughout, with the snap rule of `ranksrgan.metrics.mscn`, so that its scores are those of
`ranksrgan.metrics.niqe`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate
from scipy.special import gamma

Array = npt.NDArray[np.float64]

BLOCK = 96
SNAP = 1e-9


def niqe(image: npt.NDArray[np.uint8], mean: Array, covariance: Array) -> float:
    """NIQE on rgb2ycbcr luma of one image ``(H, W, 3)``, for a model of natural images."""
    red, green, blue = (image[..., channel].astype(np.float64) for channel in range(3))
    to_y = [weight * (1 / 255) for weight in (65.481, 128.553, 24.966)]
    plane = np.floor(to_y[2] * blue + to_y[1] * green + to_y[0] * red + 16 + 0.5)
    rows, columns = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    plane = plane[: rows * BLOCK, : columns * BLOCK]
    features = np.hstack([plane_features(plane, BLOCK), plane_features(halve(plane), BLOCK // 2)])
    whole = features[~np.isnan(features).any(axis=1)]
    difference = mean - np.nanmean(features, axis=0)
    pooled = (covariance + np.cov(whole, rowvar=False)) / 2
    return float(np.sqrt(difference @ np.linalg.pinv(pooled) @ difference))


def plane_features(plane: Array, side: int) -> Array:
    """18 features of each block of ``side`` x ``side``."""
    normalised = mscn(plane)
    return np.array(
        [
            block_features(normalised[y : y + side, x : x + side])
            for y in range(0, plane.shape[0], side)
            for x in range(0, plane.shape[1], side)
        ]
    )


def mscn(plane: Array) -> Array:
    """Mean-subtracted contrast-normalised plane."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = correlate(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(correlate(plane**2, window, mode="nearest") - mean**2))
    difference = plane - mean
    difference[np.abs(difference) < SNAP] = 0
    return difference / (deviation + 1)


def block_features(block: Array) -> list[float]:
    """Fits to the block and to its products with four neighbours."""
    alpha, left, right = estimate_aggd(block)
    features = [alpha, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        alpha, left, right = estimate_aggd(block * np.roll(block, shift, axis=(0, 1)))
        mean = (right - left) * gamma(2 / alpha) / gamma(1 / alpha)
        features += [alpha, mean, left, right]
    return features


def estimate_aggd(block: Array) -> tuple[float, float, float]:
    """Shape, left and right scale of an asymmetric generalised Gaussian, by moment matching."""
    vector = block.flatten()
    shapes = np.arange(0.2, 10.0005, 0.001)
    inverse = np.reciprocal(shapes)
    ratios = gamma(inverse * 2) ** 2 / (gamma(inverse) * gamma(inverse * 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt(np.mean(vector[vector < 0] ** 2))
        right = np.sqrt(np.mean(vector[vector > 0] ** 2))
        skew = left / right
        ratio = np.mean(np.abs(vector)) ** 2 / np.mean(vector**2)
        ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    alpha = float(shapes[np.argmin((ratios - ratio) ** 2)])
    scale = np.sqrt(gamma(1 / alpha) / gamma(3 / alpha))
    return alpha, left * scale, right * scale


def halve(plane: Array) -> Array:
    """MATLAB's bicubic imresize to half the size, with antialiasing."""
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    for axis in (0, 1):
        length = plane.shape[axis]
        positions = np.arange(0, length, 2)[:, None] + np.arange(-3, 5)
        mirrored = np.where(positions < 0, -1 - positions, positions)
        mirrored = np.where(mirrored >= length, 2 * length - 1 - mirrored, mirrored)
        taken = np.take(plane, mirrored, axis=axis)
        plane = np.tensordot(taken, weights, axes=(axis + 1, 0))
    return plane
