"""The features of Ma in NumPy and SciPy, vectorised and without further tricks: what to beat."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from scipy.fft import dctn, fft2, fftshift, ifft2, ifftshift
from scipy.ndimage import correlate, correlate1d
from scipy.special import gamma

from ranksrgan.metrics import imresize
from ranksrgan.metrics.reference.ma_dct import ORIENTATIONS

_SHAPES = np.arange(30, 10001) / 1000
_RATIOS = gamma(1 / _SHAPES) * gamma(3 / _SHAPES) / gamma(2 / _SHAPES) ** 2
_C2 = (0.03 * 255) ** 2


def bell(reach: int, sigma: float) -> np.ndarray:
    taps = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def features(plane: np.ndarray) -> np.ndarray:
    """``(138,)`` of a luma plane ``(H, W)`` on 0..255."""
    levels = [plane / 255]
    for _ in range(2):
        smooth = correlate(levels[-1], np.outer(bell(1, 0.5), bell(1, 0.5)), mode="constant")
        levels.append(smooth[1::2, 1::2])
    first = [block_dct(level) for level in levels]
    third = [singular_values(level) for level in levels]
    return np.concatenate([*first, subbands(plane), *third])


def shape_of(ratio: np.ndarray) -> np.ndarray:
    rising = _RATIOS[::-1]
    upper = np.searchsorted(rising, ratio).clip(1, len(rising) - 1)
    nearer = (ratio - rising[upper - 1]) < (rising[upper] - ratio)
    return _SHAPES[::-1][np.where(nearer, upper - 1, upper)]


def shape(values: np.ndarray) -> np.ndarray:
    distance = np.abs(values - values.mean()).mean()
    return shape_of(values.var(ddof=1) / (distance**2 + 1e-7))


def block_dct(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    rows, columns = math.ceil(height / 3), math.ceil(width / 3)
    padded = np.zeros((3 * rows + 4, 3 * columns + 4))
    padded[2 : 2 + height, 2 : 2 + width] = plane
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7))[::3, ::3]
    all_49 = dctn(windows, axes=(-2, -1), norm="ortho").reshape(-1, 49)
    c = all_49[:, 1:]
    distance = np.abs(c - c.mean(axis=1, keepdims=True)).mean(axis=1)
    shapes = np.sort(shape_of(c.var(axis=1, ddof=1) / (distance**2 + 1e-7)))
    size = np.abs(c)
    variation = size.std(axis=1, ddof=1) / (size.mean(axis=1) + 1e-7)
    which = np.array(list("".join(ORIENTATIONS)))
    groups = [np.abs(all_49[:, which == one]) for one in "012"]
    rho = [one.std(axis=1, ddof=1) / (one.mean(axis=1) + 1e-8) for one in groups]
    found = [shapes[: math.ceil(len(shapes) * 0.1)].mean(), shapes.mean()]
    for values in (variation, np.var(rho, axis=0, ddof=1)):
        found += [np.sort(values)[int(len(values) * 0.9) - 1 :].mean(), values.mean()]
    return np.array(found)


def interpolate(at: np.ndarray, first: float, step: float, values: np.ndarray) -> np.ndarray:
    position = (at - first) / step
    index = np.trunc(position).astype(int).clip(0, len(values) - 2)
    return values[index] + (values[index + 1] - values[index]) * (position - index)


def pyramid(plane: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    dims = np.array(plane.shape)
    centre = np.ceil((dims + 0.5) / 2).astype(int)
    y, x = ((np.arange(1, n + 1) - c) / (n / 2) for n, c in zip(dims, centre, strict=True))
    x, y = np.meshgrid(x, y)
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    radius[centre[0] - 1, centre[1] - 1] = radius[centre[0] - 1, centre[1] - 2]
    octave, origin = np.log2(radius), -257 / 256
    rise = np.abs(np.cos(np.pi / 2 * (np.arange(259) - 257) / 256))
    rise[0], rise[-1] = rise[1], rise[-2]
    fall = np.sqrt(1 - rise**2)
    turns = np.pi * (np.arange(3075) - 2049) / 1024
    lobe = math.sqrt(2**10 * math.factorial(5) ** 2 / (6 * math.factorial(10))) * np.cos(turns) ** 5

    def back(spectrum: np.ndarray) -> np.ndarray:
        return ifft2(ifftshift(spectrum)).real

    spectrum = fftshift(fft2(plane))
    highpass = back(spectrum * interpolate(octave, origin, 1 / 256, rise))
    low = spectrum * interpolate(octave, origin, 1 / 256, fall)
    levels = []
    for _ in range(2):
        origin -= 1
        ring = interpolate(octave, origin, 1 / 256, rise)
        lobes = (
            interpolate(angle, turns[0] + np.pi * band / 6, np.pi / 1024, lobe) for band in range(6)
        )
        levels.append(np.stack([back(-1j * low * ring * one) for one in lobes]))
        dims = np.array(low.shape)
        small = np.ceil((dims - 0.5) / 2).astype(int)
        first = np.ceil((dims + 0.5) / 2).astype(int) - np.ceil((small + 0.5) / 2).astype(int)
        cut = tuple(slice(f, f + s) for f, s in zip(first, small, strict=True))
        octave, angle = octave[cut], angle[cut]
        low = low[cut] * interpolate(octave, origin, 1 / 256, fall)
    return highpass, levels


def normalise(bands: np.ndarray, parents: np.ndarray, margin: int) -> list[np.ndarray]:
    results = []
    height, width = bands.shape[1] - 2, bands.shape[2] - 2
    for k, band in enumerate(bands):
        columns = [band[y : y + height, x : x + width].ravel() for y in range(3) for x in range(3)]
        columns += [parent[1:-1, 1:-1].ravel() for parent in parents[k : k + 1]]
        counted = len(columns)
        columns += [other[1:-1, 1:-1].ravel() for j, other in enumerate(bands) if j != k]
        matrix = np.stack(columns, axis=1)
        inverse = np.linalg.pinv(matrix.T @ matrix / len(matrix))
        z = np.sqrt(((matrix @ inverse) * matrix).sum(axis=1) / counted)
        quotient = ((columns[4] - columns[4].mean()) / z).reshape(height, width)
        quotient = quotient[margin : height - margin, margin : width - margin]
        results.append(quotient - quotient.mean())
    return results


def smooth(plane: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        plane = correlate1d(plane, bell(5, 1.5), axis=axis)
    return plane[5:-5, 5:-5]


def correlations(planes: list[np.ndarray], pairs: list[tuple[int, int]]) -> list[float]:
    means = [smooth(plane) for plane in planes]
    variances = [smooth(p * p) - mean * mean for p, mean in zip(planes, means, strict=True)]
    found = []
    for i, j in pairs:
        covariance = smooth(planes[i] * planes[j]) - means[i] * means[j]
        ratio = (2 * covariance + _C2) / (variances[i] + variances[j] + _C2)
        found.append(float(ratio.mean()))
    return found


def subbands(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    highpass, (fine, coarse) = pyramid(plane)
    twice = imresize(torch.from_numpy(coarse[:5].copy()), 2.0).numpy()
    larger = imresize(torch.from_numpy(coarse), size=(height, width)).numpy()
    first = normalise(fine, twice[:, :height, :width], 16)
    second = normalise(coarse, coarse[:0], 8)
    both = [np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(first, second, strict=True)]
    return np.array(
        [shape(values) for values in first + second + both]
        + correlations([*fine, *larger, highpass], [(band, 12) for band in range(12)])
        + correlations(first, list(itertools.combinations(range(6), 2)))
    )


def singular_values(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    rows, columns = math.ceil(height / 5), math.ceil(width / 5)
    padded = np.zeros((5 * rows, 5 * columns))
    padded[:height, :width] = plane
    blocks = padded.reshape(rows, 5, columns, 5).transpose(0, 2, 1, 3).reshape(-1, 25)
    return np.linalg.svd(blocks, compute_uv=False)
