from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import gamma
from torch import Tensor

from ranksrgan.metrics.aggd import fit_aggd
from ranksrgan.metrics.smooth_aggd import fit_smooth_aggd, shape_of_ratio


def ratio_of(shape: float) -> float:
    return float(gamma(2 / shape) ** 2 / (gamma(1 / shape) * gamma(3 / shape)))


@pytest.mark.parametrize("shape", [0.2001, 0.21, 0.5, 0.77777, 1.0, 2.0, 3.14159, 6.0, 9.999])
def test_the_shape_is_the_inverse_of_the_ratio(shape: float) -> None:
    found = shape_of_ratio(torch.tensor(ratio_of(shape), dtype=torch.float64))
    assert float(found) == pytest.approx(shape, rel=1e-10)


def test_it_agrees_with_a_root_finder() -> None:
    ratios = np.linspace(0.07, 0.73, 50)
    expected = [brentq(lambda a, r=r: ratio_of(a) - r, 0.2, 10, xtol=1e-14) for r in ratios]
    found = shape_of_ratio(torch.from_numpy(ratios))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10)


def test_beyond_the_limits_there_is_no_slope() -> None:
    ratios = torch.tensor([-1.0, 1e-6, 0.7599, 5.0], dtype=torch.float64, requires_grad=True)
    shapes = shape_of_ratio(ratios)
    assert shapes.tolist() == [0.2, 0.2, 10.0, 10.0]
    (slopes,) = torch.autograd.grad(shapes.sum(), ratios)
    assert slopes.tolist() == [0.0] * 4


def test_slope_of_the_shape() -> None:
    ratios = torch.tensor([0.07, 0.3, 0.5, 0.6, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shape_of_ratio, ratios, eps=1e-7)


def test_a_second_derivative_is_refused() -> None:
    values = torch.randn(60, dtype=torch.float64, requires_grad=True)
    alpha = fit_smooth_aggd(values).alpha
    (slope,) = torch.autograd.grad(alpha.square(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def samples() -> Tensor:
    values = torch.randn(4, 60, dtype=torch.float64) ** 3
    values[1] = torch.where(values[1] < 0, values[1] * 2, values[1])
    values[2, :20] = 0
    return values


def test_it_is_the_fit_but_for_the_table() -> None:
    values = samples()
    exact, smooth = fit_aggd(values), fit_smooth_aggd(values)
    assert (exact.alpha - smooth.alpha).abs().max() <= 0.0005 + 1e-9
    for by_table, found in zip(exact[1:], smooth[1:], strict=True):
        torch.testing.assert_close(found, by_table, rtol=1e-2, atol=1e-3)


def test_gradient() -> None:
    values = samples()
    # Away from 0, where a step would take a value to the other side.
    values = torch.where(values.abs() < 1e-3, 1e-3, values).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: tuple(fit_smooth_aggd(v)), values)


@pytest.mark.parametrize("side", [-1, 0, 1])
def test_where_a_side_is_empty(side: int) -> None:
    values = (side * (torch.rand(50, dtype=torch.float64) + 0.5)).requires_grad_()
    smooth, exact = fit_smooth_aggd(values), fit_aggd(values.detach())
    for found, expected in zip(smooth, exact, strict=True):
        torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=0, equal_nan=True)
    defined = torch.stack([x for x in smooth if not x.isnan()])
    (gradient,) = torch.autograd.grad(defined.sum(), values)
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any()) == (side != 0)
