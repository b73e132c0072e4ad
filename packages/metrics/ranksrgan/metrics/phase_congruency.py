"""Phase congruency of a plane: where its frequencies are in step, as at lines and edges.

P. Kovesi, "Image features from phase congruency", Videre: Journal of Computer Vision Research 1(3),
1999, with the parameters that FSIM (`ranksrgan.metrics.fsim`) is published with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.metrics.full_reference import plane_mean

_SCALES = 4
_ORIENTATIONS = 4
_SHORTEST_WAVELENGTH = 6  # pixels; each scale doubles it
_SIGMA_ON_F = 0.55  # deviation of a filter over its centre frequency, log-Gaussian
_SIGMA_OF_ANGLE = math.pi / _ORIENTATIONS / 1.2
_CUTOFF, _SHARPNESS = 0.45, 15  # of the Butterworth low-pass that rounds the corners off
_NOISE_DEVIATIONS = 2.0  # above the mean energy of noise; what is below does not count
_NOISE_OVERESTIMATE = 1.7  # by which the estimate, made for another form of the measure, is divided
_EPSILON = 1e-4

#: One wave of the finest filter.
MIN_SIDE = _SHORTEST_WAVELENGTH


def phase_congruency(planes: Tensor) -> Tensor:
    """Phase congruency at each pixel, over all orientations.

    Args:
        planes: ``(K, H, W)`` float64 on the 0..255 scale, both sides `MIN_SIDE` or more.

    Returns:
        ``(K, H, W)``, 0 to 1; 0 where nothing rises above noise, and everywhere in a flat plane.
    """
    spectra = [torch.fft.fft2(plane) for plane in planes]
    energy = torch.zeros_like(planes)
    amplitude = torch.zeros_like(planes)
    for of_orientation in _log_gabors(*planes.shape[1:]):
        filters = of_orientation.to(planes.device)
        for k, spectrum in enumerate(spectra):
            responses = torch.fft.ifft2(spectrum * filters)
            even, odd = responses.real.contiguous(), responses.imag.contiguous()
            amplitudes = (even.square() + odd.square()).sqrt()
            threshold = _noise_threshold(amplitudes[0], filters)
            energy[k] += (_energy(even, odd) - threshold).clamp(min=0)
            amplitude[k] += amplitudes.sum(dim=0)
    # A flat plane has nothing but the rounding errors of the transform.
    for k, plane in enumerate(planes):
        if is_flat(plane):
            energy[k] = 0
    return torch.where(amplitude > 0, energy / amplitude, 0.0)


def is_flat(plane: Tensor) -> bool:
    """Whether all values are equal."""
    return bool((plane == plane.flatten()[0]).all())


def _energy(even: Tensor, odd: Tensor) -> Tensor:
    """Amplitude times ``cos(d) - |sin(d)|``, summed over the scales; d is the deviation of a
    response's phase from their mean phase."""
    mean_even, mean_odd = even.sum(dim=0), odd.sum(dim=0)
    length = (mean_even.square() + mean_odd.square()).sqrt() + _EPSILON
    mean_even, mean_odd = mean_even / length, mean_odd / length
    along = even * mean_even + odd * mean_odd
    across = even * mean_odd - odd * mean_even
    return (along - across.abs()).sum(dim=0)


def _noise_threshold(amplitudes: Tensor, filters: Tensor) -> Tensor:
    """The energy that noise reaches, judged by the amplitudes at the finest scale.

    Their squares have the mean ``median / ln 2`` if they are noise. How much of its power passes
    the filters of all scales together follows from their even parts: squares of sums in space are
    squares of sums in frequency (Parseval).
    """
    median = _median(amplitudes.square())
    power = median / math.log(2) / plane_mean(filters[0].square())
    passed = plane_mean(_even_part(filters.sum(dim=0)).square())
    rayleigh = (power * passed).sqrt()
    mean = rayleigh * math.sqrt(math.pi / 2)
    deviation = rayleigh * math.sqrt(2 - math.pi / 2)
    return (mean + _NOISE_DEVIATIONS * deviation) / _NOISE_OVERESTIMATE


def _median(values: Tensor) -> Tensor:
    """With the mean of the two middle values, where there are two; `torch.median` takes one."""
    flat = values.flatten()
    count = len(flat)
    lower, upper = (flat.kthvalue(k).values for k in ((count + 1) // 2, count // 2 + 1))
    return (lower + upper) / 2


def _even_part(spectrum: Tensor) -> Tensor:
    """Transform of the real part of what has this real transform."""
    mirrored = spectrum.flip(0, 1).roll((1, 1), (0, 1))
    return (spectrum + mirrored) / 2


def _log_gabors(height: int, width: int) -> Iterator[Tensor]:
    """Transfer functions, ``(scales, H, W)`` float64 on the CPU, by orientation.

    By NumPy, since the last bits of PyTorch's logarithms hang on the number of threads.
    """
    down, across = _frequencies(height)[:, None], _frequencies(width)
    radius = np.sqrt(down**2 + across**2)
    angle = np.arctan2(-down, across)
    low_pass = 1 / (1 + (radius / _CUTOFF) ** (2 * _SHARPNESS))
    radius[0, 0] = 1  # has a logarithm
    bands = np.empty((_SCALES, height, width))
    for scale in range(_SCALES):
        octaves = np.log(radius * _SHORTEST_WAVELENGTH * 2**scale)
        bands[scale] = np.exp(-(octaves**2) / (2 * math.log(_SIGMA_ON_F) ** 2)) * low_pass
    bands[:, 0, 0] = 0
    for orientation in range(_ORIENTATIONS):
        turn = angle - orientation * math.pi / _ORIENTATIONS
        distance = np.arctan2(np.sin(turn), np.cos(turn))
        spread = np.exp(-(distance**2) / (2 * _SIGMA_OF_ANGLE**2))
        yield torch.from_numpy(bands * spread)


def _frequencies(side: int) -> npt.NDArray[np.float64]:
    """Cycles per pixel in the order of the FFT; an odd side has them from -1/2 to 1/2."""
    centred = np.arange(side) - side // 2
    return np.fft.ifftshift(centred / (side - side % 2))
