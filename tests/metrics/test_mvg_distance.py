"""`mvg_distance`: the twin against NumPy, the compiled operator against the twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.mvg_distance import mvg_distance

Operator = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    mvg_distance(*problem(0, 2, 1))  # registers the fake kernel and the gradient
    operator: Operator = torch.ops.ranksrgan.mvg_distance.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def problem(batch: int, rows: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Correlated features on unlike scales, and a model."""
    mixing = torch.randn(size, size, dtype=torch.float64) * torch.logspace(0, -2, size).double()
    features = torch.randn(batch, rows, size, dtype=torch.float64) @ mixing + 1
    own = torch.randn(2 * size, size, dtype=torch.float64)
    return features, torch.randn(size, dtype=torch.float64), own.T @ own / (2 * size)


def with_gaps(features: Tensor) -> Tensor:
    """NaN in some rows, in unlike columns."""
    features = features.clone()
    features[:, 0, 0] = torch.nan
    features[:, 3, -1] = torch.nan
    features[:, 3, 1] = torch.nan
    return features


def by_numpy(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    whole = features[~np.isnan(features).any(axis=1)]
    difference = mean - np.nanmean(features, axis=0)
    pooled = (covariance + np.cov(whole, rowvar=False, ddof=1)) / 2
    return math.sqrt(difference @ np.linalg.pinv(np.atleast_2d(pooled)) @ difference)


@pytest.mark.parametrize("function", [mvg_distance, reference.mvg_distance])
@pytest.mark.parametrize(("rows", "size"), [(9, 5), (3, 36), (2, 4), (300, 36), (6, 2)])
def test_against_numpy(function: Operator, rows: int, size: int) -> None:
    features, mean, covariance = problem(3, rows, size)
    if rows > 5:
        features = with_gaps(features)
    expected = [by_numpy(f.numpy(), mean.numpy(), covariance.numpy()) for f in features]
    assert function(features, mean, covariance).tolist() == pytest.approx(expected, rel=1e-9)


def test_native_equals_twin(compiled: Operator) -> None:
    features, mean, covariance = problem(4, 25, 36)
    features = with_gaps(features)
    found, expected = (f(features, mean, covariance) for f in (compiled, reference.mvg_distance))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    strided = features.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(compiled(strided, mean, covariance.T), found)


@pytest.mark.parametrize("function", [mvg_distance, reference.mvg_distance])
def test_no_images(function: Operator) -> None:
    assert function(*problem(0, 3, 2)).shape == (0,)


@pytest.mark.parametrize("function", [mvg_distance, reference.mvg_distance])
def test_two_rows_without_a_gap_are_needed(function: Operator) -> None:
    features, mean, covariance = problem(3, 4, 3)
    features[0, 1:, 0] = torch.nan
    features[1, 2:, 1] = torch.nan
    features[2, :, 0] = torch.nan
    assert function(features, mean, covariance).isnan().tolist() == [True, False, True]


def test_the_same_bits_alone_and_on_any_number_of_threads(
    compiled: Operator, threads: Callable[[int], None]
) -> None:
    features, mean, covariance = problem(70, 9, 36)
    threads(1)
    together = compiled(features, mean, covariance)
    for image, expected in zip(features, together, strict=True):
        assert torch.equal(compiled(image[None], mean, covariance)[0], expected)
    threads(4)
    assert torch.equal(compiled(features, mean, covariance), together)


@pytest.mark.parametrize("function", [mvg_distance, reference.mvg_distance])
def test_a_matrix_that_is_no_covariance_has_no_distance(function: Operator) -> None:
    features, mean, _ = problem(1, 5, 3)
    no_covariance = -999 * torch.eye(3, dtype=torch.float64)
    assert bool(function(features, mean, no_covariance).isnan())


def test_gradient(compiled: Operator) -> None:
    features, mean, covariance = problem(2, 6, 3)
    features = with_gaps(features)
    inputs = [x.requires_grad_() for x in (features, mean, covariance)]

    def symmetric(f: Tensor, m: Tensor, c: Tensor) -> Tensor:
        return mvg_distance(torch.where(features.isnan(), torch.nan, f), m, (c + c.T) / 2)

    finite = features.detach().nan_to_num(0.3).requires_grad_()
    assert torch.autograd.gradcheck(symmetric, (finite, *inputs[1:]))
    assert torch.autograd.gradgradcheck(symmetric, (finite, *inputs[1:]))
    (gradient,) = torch.autograd.grad(mvg_distance(*inputs).sum(), features)
    assert bool(gradient.isfinite().all())


def test_gradient_for_one_argument_alone() -> None:
    features, mean, covariance = problem(2, 6, 3)
    mean.requires_grad_()
    distances = mvg_distance(features, mean, covariance)
    (gradient,) = torch.autograd.grad(distances.sum(), mean)
    assert gradient.shape == (3,)


def test_opcheck(compiled: Operator) -> None:
    features, mean, covariance = problem(2, 6, 3)
    torch.library.opcheck(compiled, (features.requires_grad_(), mean, covariance))
    torch.library.opcheck(compiled, problem(0, 3, 2))


@pytest.mark.parametrize(
    ("change", "message", "field"),
    [
        (
            lambda f, m, c: (f.float(), m, c),
            "features: float64 wanted, got torch.float32",
            "features",
        ),
        (lambda f, m, c: (f, m.float(), c), "mean: float64 wanted", "mean"),
        (lambda f, m, c: (f, m, c.float()), "covariance: float64 wanted", "covariance"),
        (lambda f, m, c: (f[0], m, c), r"shape \(N, P, K\) .* got \(6, 3\)", "features"),
        (lambda f, m, c: (f[..., :0], m, c), r"K >= 1 wanted, got \(2, 6, 0\)", "features"),
        (lambda f, m, c: (f, m[:2], c), r"mean: shape \(3,\) wanted, got \(2,\)", "mean"),
        (lambda f, m, c: (f, m, c[:2]), r"shape \(3, 3\) wanted, got \(2, 3\)", "covariance"),
    ],
)
def test_rejected_input(
    compiled: Operator,
    change: Callable[..., tuple[Tensor, Tensor, Tensor]],
    message: str,
    field: str,
) -> None:
    arguments = change(*problem(2, 6, 3))
    with pytest.raises(InvalidInput, match=message) as caught:
        mvg_distance(*arguments)
    assert caught.value.field == field
    with pytest.raises((TypeError, ValueError), match=r"mvg_distance: .* expected, got"):
        compiled(*arguments)
