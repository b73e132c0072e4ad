from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate as scipy_correlate

from ranksrgan.metrics.steerable_pyramid import (
    BEFORE,
    LEVEL,
    LOW_PASS,
    MIN_SIDE,
    UPRIGHT,
    bands,
    correlate,
)


def test_the_filters_have_their_symmetries_and_sums() -> None:
    for kernel, size, total in ((BEFORE, 5, 0.99917984), (LOW_PASS, 9, 2.00000016)):
        assert kernel.shape == (size, size)
        assert torch.equal(kernel, kernel.T)
        assert torch.equal(kernel, kernel.flip(0))
        assert float(kernel.sum()) == pytest.approx(total, abs=1e-14)
    assert UPRIGHT.shape == (7, 7)
    assert torch.equal(UPRIGHT, UPRIGHT.flip(0))
    assert torch.equal(UPRIGHT, -UPRIGHT.flip(1))
    assert torch.equal(LEVEL, UPRIGHT.T)
    # Some of the published numbers, by their places.
    assert LOW_PASS[0, 0].item() == 0.00170808
    assert LOW_PASS[3, 7].item() == LOW_PASS[3, 1].item() == 0.008212
    assert LOW_PASS[2, 7].item() == LOW_PASS[6, 1].item() == -0.01322234
    assert LOW_PASS[4, 4].item() == 0.2019308
    assert LOW_PASS[2, 4].item() == 0.07962786
    assert BEFORE[1, 2].item() == 0.1592557
    assert UPRIGHT[3].tolist()[4:] == [0.11732297, -0.02755155, -0.01455399]
    assert UPRIGHT[5].tolist()[:3] == [0.00496194, -0.00893064, -0.03075356]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("shape", [(20, 31), (21, 30)])
def test_correlate_against_scipy(step: int, shape: tuple[int, int]) -> None:
    plane = torch.rand(shape, dtype=torch.float64)
    kernel = torch.randn(7, 7, dtype=torch.float64)
    expected = scipy_correlate(plane.numpy(), kernel.numpy(), mode="mirror")[::step, ::step]
    assert correlate(plane, kernel, step).numpy() == pytest.approx(expected, abs=1e-12)


def test_bands() -> None:
    plane = torch.rand(MIN_SIDE + 3, MIN_SIDE, dtype=torch.float64)
    found = bands(plane)
    assert [tuple(upright.shape) for upright, _ in found] == [(75, 72), (38, 36), (19, 18), (10, 9)]
    low = scipy_correlate(plane.numpy(), BEFORE.numpy(), mode="mirror")
    for upright, level in found:
        for kernel, band in ((UPRIGHT, upright), (LEVEL, level)):
            expected = scipy_correlate(low, kernel.numpy(), mode="mirror")
            assert band.numpy() == pytest.approx(expected, abs=1e-12)
        low = scipy_correlate(low, LOW_PASS.numpy(), mode="mirror")[::2, ::2]


def test_a_turned_plane_exchanges_the_bands() -> None:
    plane = torch.rand(80, 90, dtype=torch.float64)
    for (upright, level), (turned_upright, turned_level) in zip(
        bands(plane), bands(plane.T), strict=True
    ):
        assert np.allclose(upright.T, turned_level, atol=1e-13)
        assert np.allclose(level.T, turned_upright, atol=1e-13)


def test_flat_planes_have_empty_bands() -> None:
    for pair in bands(torch.full((72, 72), 255.0, dtype=torch.float64)):
        assert float(torch.stack(pair).abs().max()) < 1e-12
