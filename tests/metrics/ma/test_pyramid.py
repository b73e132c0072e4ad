"""The steerable pyramid against the published steps on whole spectra, and its symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ranksrgan.metrics.ma.pyramid import steerable_pyramid

# Even and odd sides, and with halves that are even and odd
SIZES = [(96, 90), (101, 97), (48, 99), (46, 211), (512, 2)]


def table(at: np.ndarray, first: float, step: float, values: np.ndarray) -> np.ndarray:
    position = (at - first) / step
    index = np.clip(np.trunc(position).astype(int), 0, len(values) - 2)
    return values[index] + (values[index + 1] - values[index]) * (position - index)


def by_numpy(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two levels of buildSFpyr of order 5: shifted spectra, both halves, real parts taken."""
    dims = np.array(plane.shape)
    centre = np.ceil((dims + 0.5) / 2).astype(int)
    y, x = ((np.arange(1, n + 1) - c) / (n / 2) for n, c in zip(dims, centre, strict=True))
    x, y = np.meshgrid(x, y)
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    radius[centre[0] - 1, centre[1] - 1] = radius[centre[0] - 1, centre[1] - 2]
    octave = np.log2(radius)
    at = (np.arange(259) - 257) / 256
    rise = np.abs(np.cos(math.pi / 2 * at))
    rise[0], rise[-1] = rise[1], rise[-2]
    fall = np.sqrt(1 - rise**2)
    turns = math.pi * (np.arange(3075) - 2049) / 1024
    lobe = math.sqrt(2**10 * math.factorial(5) ** 2 / (6 * math.factorial(10)))
    lobe = lobe * np.cos(turns) ** 5

    def back(spectrum: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(np.fft.ifftshift(spectrum)).real

    spectrum = np.fft.fftshift(np.fft.fft2(plane))
    highpass = back(spectrum * table(octave, at[0], 1 / 256, rise))
    low = spectrum * table(octave, at[0], 1 / 256, fall)
    levels = []
    for level in (1, 2):
        ring = table(octave, at[0] - level, 1 / 256, rise)
        bands = []
        for band in range(6):
            oriented = table(angle, turns[0] + math.pi * band / 6, math.pi / 1024, lobe)
            bands.append(back((-1j) ** 5 * low * ring * oriented))
        levels.append(np.stack(bands))
        dims = np.array(low.shape)
        small = np.ceil((dims - 0.5) / 2).astype(int)
        first = np.ceil((dims + 0.5) / 2).astype(int) - np.ceil((small + 0.5) / 2).astype(int)
        cut = tuple(slice(f, f + s) for f, s in zip(first, small, strict=True))
        octave, angle = octave[cut], angle[cut]
        low = low[cut] * table(octave, at[0] - level, 1 / 256, fall)
    return highpass, levels[0], levels[1]


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_published_steps(size: tuple[int, int]) -> None:
    plane = torch.randint(0, 256, size).double()
    for value, wanted in zip(steerable_pyramid(plane), by_numpy(plane.numpy()), strict=True):
        np.testing.assert_allclose(value.numpy(), wanted, rtol=0, atol=1e-9)


def test_bands_are_linear_in_the_plane() -> None:
    one, other = torch.randint(0, 256, (2, 64, 50)).double()
    for value, a, b in zip(
        steerable_pyramid(one + 0.5 * other),
        steerable_pyramid(one),
        steerable_pyramid(other),
        strict=True,
    ):
        torch.testing.assert_close(value, a + 0.5 * b, rtol=0, atol=1e-10)


def test_the_transposed_plane_has_mirrored_orientations() -> None:
    plane = torch.randint(0, 256, (60, 60)).double()
    upright, lying = steerable_pyramid(plane), steerable_pyramid(plane.T.contiguous())
    for bands, turned in ((upright.fine, lying.fine), (upright.coarse, lying.coarse)):
        for band, other, sign in ((0, 3, 1), (1, 2, 1), (4, 5, -1)):
            torch.testing.assert_close(turned[other], sign * bands[band].mT, rtol=0, atol=1e-9)


def test_it_is_periodic() -> None:
    plane = torch.randint(0, 256, (40, 60)).double()
    whole, moved = steerable_pyramid(plane), steerable_pyramid(plane.roll((4, 6), (0, 1)))
    torch.testing.assert_close(moved.fine, whole.fine.roll((4, 6), (1, 2)), rtol=0, atol=1e-10)
    torch.testing.assert_close(moved.coarse, whole.coarse.roll((2, 3), (1, 2)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(64, 64), (45, 51)])
def test_flat_planes_have_bands_of_zeros(size: tuple[int, int]) -> None:
    for value in steerable_pyramid(torch.full(size, 77.0, dtype=torch.float64)):
        assert torch.equal(value, torch.zeros_like(value))


def test_one_direction_leaves_the_opposite_band_empty() -> None:
    stripes = torch.randint(0, 256, (51,)).double().expand(45, 51)
    fine = steerable_pyramid(stripes).fine
    assert torch.equal(fine[3], torch.zeros_like(fine[3]))
    assert fine[0].abs().max() > 1
    torch.testing.assert_close(fine[0], fine[0][:1].expand(45, 51), rtol=0, atol=1e-10)


def test_the_number_of_threads_does_not_matter() -> None:
    plane = torch.randint(0, 256, (300, 211)).double()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = steerable_pyramid(plane)
        torch.set_num_threads(4)
        for value, wanted in zip(steerable_pyramid(plane), alone, strict=True):
            assert torch.equal(value, wanted)
    finally:
        torch.set_num_threads(threads)
