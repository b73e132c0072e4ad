from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.special import gamma

from ranksrgan.metrics.aggd import fit_aggd

SHAPES = 0.2 + 0.001 * np.arange(9801)


def fit_by_definition(v: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """One vector, with boolean indexing and a scan of the whole table."""
    table = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))
    left, right = np.sqrt(np.mean(v[v < 0] ** 2)), np.sqrt(np.mean(v[v > 0] ** 2))
    g = left / right
    r = np.mean(np.abs(v)) ** 2 / np.mean(v**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    a = SHAPES[np.argmin((table - r) ** 2)]
    scale = math.sqrt(gamma(1 / a) / gamma(3 / a))
    left, right = left * scale, right * scale
    return a, left, right, (right - left) * gamma(2 / a) / gamma(1 / a)


def test_against_the_definition() -> None:
    rng = np.random.default_rng(1)
    vectors = [
        rng.normal(size=500),
        rng.laplace(size=500) - 0.3,
        rng.uniform(-1, 2, size=500),
        np.sign(rng.normal(size=500)),  # the ratio is near 1: beyond the table
        np.concatenate([rng.normal(size=50), np.zeros(450)]),
        rng.normal(size=500) ** 5,  # heavier than the table
        np.where(rng.random(500) < 0.1, rng.normal(size=500) * 9, 0.01 * rng.normal(size=500)),
    ]
    fit = fit_aggd(torch.from_numpy(np.stack(vectors)))
    for i, vector in enumerate(vectors):
        values = [float(parameter[i]) for parameter in fit]
        assert values == pytest.approx(fit_by_definition(vector), rel=1e-12, abs=1e-13)


def test_it_finds_the_parameters_it_was_drawn_from() -> None:
    # Generalised Gaussian samples by inverse transform of a gamma variable.
    rng = np.random.default_rng(2)
    shape = 1.5
    magnitude = rng.gamma(1 / shape, size=400_000) ** (1 / shape)
    left_share = 2.0 / (2.0 + 0.5)
    v = np.where(rng.random(400_000) < left_share, -2.0 * magnitude, 0.5 * magnitude)
    fit = fit_aggd(torch.from_numpy(v))
    assert float(fit.alpha) == pytest.approx(shape, abs=0.03)
    assert float(fit.left) == pytest.approx(2.0, rel=0.02)
    assert float(fit.right) == pytest.approx(0.5, rel=0.02)
    assert float(fit.mean) == pytest.approx(v.mean(), abs=0.02)


def test_it_works_on_any_leading_shape() -> None:
    samples = torch.randn(2, 3, 100, dtype=torch.float64)
    together = fit_aggd(samples)
    assert together.alpha.shape == (2, 3)
    alone = fit_aggd(samples[1, 2])
    for whole, single in zip(together, alone, strict=True):
        assert torch.equal(whole[1, 2], single)


def test_without_one_side_the_shape_is_the_first_and_that_side_undefined() -> None:
    samples = torch.rand(100, dtype=torch.float64) + 0.5
    fit = fit_aggd(samples)
    assert float(fit.alpha) == 0.2
    assert math.isnan(fit.left)
    deviation = math.sqrt(float(samples.square().mean()))
    assert float(fit.right) == pytest.approx(deviation * math.sqrt(gamma(5) / gamma(15)), rel=1e-12)
    assert math.isnan(fit.mean)


def test_of_zeros_only_the_shape_is_defined() -> None:
    fit = fit_aggd(torch.zeros(4, 50, dtype=torch.float64))
    assert fit.alpha.tolist() == [0.2] * 4
    assert bool(fit.left.isnan().all())
    assert bool(fit.right.isnan().all())
    assert bool(fit.mean.isnan().all())
