from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ranksrgan.metrics import plcc
from ranksrgan.ranker.calibration import calibrate


@pytest.fixture
def noisy() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(203, generator=generator, dtype=torch.float64) - 20
    noise = torch.randn(203, generator=generator, dtype=torch.float64)
    return scores, 4 + torch.sinh((scores + 20) / 3) + 0.3 * noise


def test_least_squares(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, truth = noisy
    found = calibrate(scores, truth)
    basis = np.stack([np.ones(203), scores.numpy()], axis=1)
    expected, (residual,), *_ = np.linalg.lstsq(basis, truth.numpy())
    np.testing.assert_allclose(found.line, expected, rtol=1e-9)
    assert found.rmse == pytest.approx(math.sqrt(residual / 203), rel=1e-9)
    assert found.spread == pytest.approx(float(truth.std(correction=0)))


def test_errors_are_what_the_correlations_leave(
    noisy: tuple[torch.Tensor, torch.Tensor],
) -> None:
    scores, truth = noisy
    found = calibrate(scores, truth)
    for error, fit in ((found.rmse, "none"), (found.cubic_rmse, "cubic")):
        left = math.sqrt(1 - plcc(scores, truth, fit=fit) ** 2)  # type: ignore[arg-type]
        assert error == pytest.approx(found.spread * left, rel=1e-9)
    assert found.cubic_rmse < found.rmse < found.spread


def test_a_cubic_relation_is_found() -> None:
    scores = torch.linspace(-2, 3, 40, dtype=torch.float64)
    truth = 1 - 2 * scores + 0.5 * scores**2 + 0.25 * scores**3
    found = calibrate(scores, truth)
    assert found.cubic == pytest.approx((1, -2, 0.5, 0.25))
    assert found.cubic_rmse == pytest.approx(0, abs=1e-9)


def test_tenths(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    scores, truth = noisy
    found = calibrate(scores, truth)
    assert [tenth.images for tenth in found.tenths] == [21, 21, 21, *[20] * 7]
    order = torch.argsort(scores)
    first, last = order[:21], order[-20:]
    assert found.tenths[0].predicted == pytest.approx(float(scores[first].mean()))
    assert found.tenths[0].truth == pytest.approx(float(truth[first].mean()))
    assert found.tenths[-1].truth == pytest.approx(float(truth[last].mean()))
    assert found.tenths[-1].spread == pytest.approx(float(truth[last].std(correction=0)))
    intercept, slope = found.line
    assert found.tenths[4].line == pytest.approx(intercept + slope * found.tenths[4].predicted)


def test_scores_that_are_all_equal() -> None:
    found = calibrate(torch.full((6,), 2.0), torch.tensor([1.0, 2, 3, 4, 5, 9]))
    assert found.line == pytest.approx((4, 0))
    assert found.cubic == pytest.approx((4, 0, 0, 0))
    assert found.rmse == found.cubic_rmse == pytest.approx(found.spread)
    assert len(found.tenths) == 6


def test_infinite_values_have_no_part() -> None:
    scores, truth = torch.tensor([1.0, 2, 3, math.inf]), torch.tensor([2.0, 4, math.inf, 9])
    found = calibrate(scores, truth)
    assert found == calibrate(scores[:2], truth[:2])
    assert found is not None
    assert found.images == 2
    assert found.line == pytest.approx((0, 2))
    assert calibrate(scores[2:], truth[2:]) is None


def test_no_more_is_fitted_than_there_are_scores() -> None:
    found = calibrate(torch.tensor([1.0, 1, 2, 2]), torch.tensor([1.0, 3, 4, 6]))
    assert found.line == pytest.approx((-1, 3))
    assert found.cubic == pytest.approx((-1, 3, 0, 0))
    # A difference of one rounding is one: no warning, no infinity.
    close = calibrate(torch.tensor([1.0, 1 + 2**-52, 2, 3], dtype=torch.float64), torch.ones(4))
    assert all(math.isfinite(coefficient) for coefficient in close.cubic)
