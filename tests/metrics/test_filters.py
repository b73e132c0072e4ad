from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.signal import convolve2d, get_window

from ranksrgan.metrics.filters import (
    gaussian,
    gradient_magnitude,
    in_pieces,
    local_means,
    mean_pool,
    similarity,
)


def test_gaussian() -> None:
    weights = np.array(gaussian(11, 1.5))
    expected = get_window(("gaussian", 1.5), 11, fftbins=False)
    assert weights == pytest.approx(expected / expected.sum(), rel=1e-14)


@pytest.mark.parametrize("step", [1, 3])
def test_local_means_against_scipy(step: int) -> None:
    planes = torch.rand(2, 14, 17, dtype=torch.float64)
    weights = [0.1, 0.5, 0.2, 0.15, 0.05]  # not symmetric: a correlation, not a convolution
    expected = correlate1d(correlate1d(planes.numpy(), weights, 1), weights, 2)
    expected = expected[:, 2:-2:step, 2:-2:step]
    assert local_means(planes, weights, step).numpy() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(12, 15), (13, 11), (10, 10)])
def test_mean_pool_is_matlabs_conv2_at_every_nth_pixel(size: int, shape: tuple[int, int]) -> None:
    plane = torch.rand(shape, dtype=torch.float64)
    full = convolve2d(plane.numpy(), np.ones((size, size)) / size**2)
    start = size // 2  # MATLAB's 'same' begins at ceil((n + 1) / 2), counted from 1
    same = full[start : start + shape[0], start : start + shape[1]]
    assert mean_pool(plane, size).numpy() == pytest.approx(same[::size, ::size], rel=1e-13)
    stacked = mean_pool(plane.expand(2, *shape), size)
    assert torch.equal(stacked[1], mean_pool(plane, size))


@pytest.mark.parametrize("weights", [(1 / 3, 1 / 3), (3 / 16, 10 / 16)])
def test_gradient_magnitude_against_scipy(weights: tuple[float, float]) -> None:
    side, middle = weights
    plane = torch.rand(7, 9, dtype=torch.float64)
    kernel = np.outer([side, middle, side], [1, 0, -1])
    across = convolve2d(plane.numpy(), kernel, mode="same")
    down = convolve2d(plane.numpy(), kernel.T, mode="same")
    assert gradient_magnitude(plane, side, middle).numpy() == pytest.approx(np.hypot(across, down))


def test_similarity() -> None:
    x, y = torch.tensor([2.0, 3.0, 0.0]), torch.tensor([2.0, 1.0, 0.0])
    assert similarity(x, y, 1.0).tolist() == pytest.approx([1, 7 / 11, 1])


def test_in_pieces_is_the_function_itself() -> None:
    values = torch.rand(3, 150, 99, dtype=torch.float64) + 0.1
    assert torch.allclose(in_pieces(torch.log2, values), values.log2(), rtol=1e-15, atol=0)


def test_in_pieces_does_not_depend_on_the_number_of_threads() -> None:
    values = torch.rand(401, 333, dtype=torch.float64)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(in_pieces(lambda piece: piece.pow(0.03), values))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
