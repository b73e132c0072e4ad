from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ranksrgan.metrics.phase_congruency import is_flat, phase_congruency

Plane = npt.NDArray[np.float64]


def reference_congruency(plane: Plane) -> Plane:
    """Kovesi's measure as FSIM uses it, step by step, the noise estimate summed in space."""
    rows, columns = plane.shape

    def frequencies(n: int) -> Plane:
        if n % 2:
            return np.arange(-(n - 1) / 2, (n - 1) / 2 + 1) / (n - 1)
        return np.arange(-n / 2, n / 2) / n

    x, y = np.meshgrid(frequencies(columns), frequencies(rows))
    radius = np.fft.ifftshift(np.hypot(x, y))
    theta = np.fft.ifftshift(np.arctan2(-y, x))
    low_pass = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1
    spectrum = np.fft.fft2(plane)
    energies, amplitudes = np.zeros_like(plane), np.zeros_like(plane)
    for orientation in range(4):
        angle = orientation * np.pi / 4
        sine = np.sin(theta) * np.cos(angle) - np.cos(theta) * np.sin(angle)
        cosine = np.cos(theta) * np.cos(angle) + np.sin(theta) * np.sin(angle)
        distance = np.abs(np.arctan2(sine, cosine))
        spread = np.exp(-(distance**2) / (2 * (np.pi / 4 / 1.2) ** 2))
        filters, responses = [], []
        for scale in range(4):
            band = np.exp(-(np.log(radius * 6 * 2**scale) ** 2) / (2 * np.log(0.55) ** 2))
            band = band * low_pass
            band[0, 0] = 0
            filters.append(band * spread)
            responses.append(np.fft.ifft2(spectrum * filters[-1]))
        total = np.sum(responses, axis=0)
        length = np.abs(total) + 1e-4
        even, odd = total.real / length, total.imag / length
        energy = sum(
            r.real * even + r.imag * odd - np.abs(r.real * odd - r.imag * even) for r in responses
        )
        in_space = [np.fft.ifft2(f).real * np.sqrt(rows * columns) for f in filters]
        squares = sum(f**2 for f in in_space)
        products = sum(in_space[i] * in_space[j] for i in range(4) for j in range(i + 1, 4))
        power = -np.median(np.abs(responses[0]) ** 2) / np.log(0.5) / (filters[0] ** 2).sum()
        noise = 2 * power * squares.sum() + 4 * power * products.sum()
        tau = np.sqrt(noise / 2)
        threshold = tau * np.sqrt(np.pi / 2) + 2 * np.sqrt((2 - np.pi / 2) * tau**2)
        energies += np.maximum(energy - threshold / 1.7, 0)
        amplitudes += np.sum(np.abs(responses), axis=0)
    return energies / amplitudes


@pytest.mark.parametrize("shape", [(32, 48), (33, 48), (32, 47), (31, 45)])
def test_against_numpy(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    planes = np.cumsum(generator.normal(size=(2, *shape)), axis=2) * 10 + 100
    found = phase_congruency(torch.from_numpy(planes)).numpy()
    for k in range(2):
        assert found[k] == pytest.approx(reference_congruency(planes[k]), abs=1e-11)
    assert 0 <= found.min() < found.max() < 1


def test_it_is_high_along_an_edge_whatever_its_contrast() -> None:
    step = torch.zeros(64, 64, dtype=torch.float64)
    step[:, 32:] = 1
    strong, weak = phase_congruency(torch.stack([200 * step, 20 * step]))
    assert float(strong[16:48, 31:33].min()) > 0.75
    # The transform is periodic: the second edge is where the plane begins again.
    assert set(strong[32].argsort()[-4:].tolist()) == {0, 31, 32, 63}
    assert float((strong - weak).abs().max()) < 1e-3


def test_flat_planes_have_none() -> None:
    planes = torch.stack([torch.full((30, 31), 77.7), torch.rand(30, 31) * 255]).double()
    flat, textured = phase_congruency(planes)
    assert float(flat.max()) == 0
    assert float(textured.max()) > 0


def test_is_flat() -> None:
    plane = torch.full((4, 5), 0.1)
    assert is_flat(plane)
    plane[3, 4] += 1e-6
    assert not is_flat(plane)
