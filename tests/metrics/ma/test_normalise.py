"""`ma_normalise`: the twin against NumPy, the compiled operator against the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.ma.normalise import ma_normalise
from ranksrgan.metrics.ma.pyramid import steerable_pyramid

Operator = Callable[[Tensor, Tensor, int], Tensor]

# Parents, size, margin: rows of results of less than eight, of eight and of more; more rows than
# the twin takes together; few
CASES = [(5, (30, 41), 3), (0, (25, 26), 0), (6, (24, 20), 5), (1, (75, 13), 5), (2, (9, 15), 3)]


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    ma_normalise(*some(0, (9, 9)), 0)  # registers the fake kernel
    operator: Operator = torch.ops.ranksrgan.ma_normalise.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def some(parents: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    bands = torch.randn(6, *size, dtype=torch.float64) * 7 + 0.5
    bands[1] += bands[0] / 2
    return bands, torch.randn(parents, *size, dtype=torch.float64)


def by_numpy(bands: np.ndarray, parents: np.ndarray, margin: int) -> np.ndarray:
    """The published steps with the whole matrix of neighbourhoods."""
    results = []
    height, width = bands.shape[1] - 2, bands.shape[2] - 2
    for k, band in enumerate(bands):
        columns = [band[y : y + height, x : x + width].ravel() for y in range(3) for x in range(3)]
        counted = 9
        if k < len(parents):
            columns.append(parents[k, 1:-1, 1:-1].ravel())
            counted = 10
        columns += [other[1:-1, 1:-1].ravel() for j, other in enumerate(bands) if j != k]
        matrix = np.stack(columns, axis=1)
        covariance = matrix.T @ matrix / len(matrix)
        z = np.sqrt(
            ((matrix @ np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)) * matrix).sum(
                axis=1
            )
            / counted
        )
        centre = columns[4] - columns[4].mean()
        quotient = np.divide(centre, z, out=np.zeros_like(z), where=z > 0)
        quotient = quotient.reshape(height, width)
        quotient = quotient[margin : height - margin, margin : width - margin]
        results.append(quotient - quotient.mean())
    return np.stack(results)


@pytest.mark.parametrize(("parents", "size", "margin"), CASES)
def test_twin_equals_numpy(parents: int, size: tuple[int, int], margin: int) -> None:
    bands, above = some(parents, size)
    value = reference.ma_normalise(bands, above, margin)
    assert value.shape == (6, size[0] - 2 - 2 * margin, size[1] - 2 - 2 * margin)
    wanted = by_numpy(bands.numpy(), above.numpy(), margin)
    np.testing.assert_allclose(value.numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("parents", "size", "margin"), CASES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_native_equals_twin(
    compiled: Operator, parents: int, size: tuple[int, int], margin: int, contiguous: bool
) -> None:
    bands, above = some(parents, size)
    if not contiguous:
        bands = bands.transpose(1, 2).contiguous().transpose(1, 2)
    value = compiled(bands, above, margin)
    wanted = reference.ma_normalise(bands, above, margin)
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("function", [ma_normalise, reference.ma_normalise])
def test_the_divisor_has_no_scale_of_its_own(function: Operator) -> None:
    bands, parents = some(5, (24, 24))
    value, larger = function(bands, parents, 2), function(bands * 64, parents * 8, 2)
    torch.testing.assert_close(value * 64, larger, rtol=0, atol=1e-8)
    assert value.mean(dim=(1, 2)).abs().max() < 1e-14


@pytest.mark.parametrize("function", [ma_normalise, reference.ma_normalise])
def test_without_energy_there_is_no_contrast(function: Operator) -> None:
    bands, parents = some(5, (20, 20))
    nothing = torch.zeros_like(bands)
    assert torch.equal(
        function(nothing, nothing[:5], 2), torch.zeros(6, 14, 14, dtype=torch.float64)
    )
    # One band of zeros, as a picture of stripes has it, leaves the others a covariance without
    # an inverse.
    bands[2] = 0
    value = function(bands, parents, 2)
    assert torch.equal(value[2], torch.zeros(14, 14, dtype=torch.float64))
    wanted = by_numpy(bands.numpy(), parents.numpy(), 2)
    np.testing.assert_allclose(value.numpy(), wanted, rtol=0, atol=1e-9)


def test_bands_of_one_direction(compiled: Operator) -> None:
    # A picture of stripes: rows are equal up to rounding, so the surroundings have three members.
    stripes = (torch.arange(70) % 7 * 30).double().expand(60, 70)
    _, fine, coarse = steerable_pyramid(stripes)
    parents = coarse[:5].repeat_interleave(2, 1).repeat_interleave(2, 2)
    value, wanted = compiled(fine, parents, 4), reference.ma_normalise(fine, parents, 4)
    torch.testing.assert_close(value, wanted, rtol=1e-6, atol=1e-6)
    assert value.abs().max() < 1e4


def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Operator, threads: Callable[[int], None]
) -> None:
    bands, parents = some(5, (120, 90))
    threads(1)
    alone = compiled(bands, parents, 4)
    threads(4)
    assert torch.equal(compiled(bands, parents, 4), alone)


def test_opcheck(compiled: Operator) -> None:
    for parents, size, margin in CASES[:3]:
        torch.library.opcheck(compiled, (*some(parents, size), margin))


@pytest.mark.parametrize(
    ("bands", "parents", "margin", "field", "message"),
    [
        ((5, 9, 9), (0, 9, 9), 0, "bands", r"shape \(6, H, W\) wanted, got \(5, 9, 9\)"),
        ((9, 9), (0, 9, 9), 0, "bands", r"got \(9, 9\)"),
        ((6, 9, 9), (7, 9, 9), 0, "parents", r"\(0 to 6, 9, 9\) wanted, got \(7, 9, 9\)"),
        ((6, 9, 9), (5, 9, 8), 0, "parents", r"got \(5, 9, 8\)"),
        ((6, 9, 9), (5, 9, 9), -1, "margin", "0 or more wanted, got -1"),
    ],
)
def test_rejected_input(
    bands: tuple[int, ...], parents: tuple[int, ...], margin: int, field: str, message: str
) -> None:
    double = torch.float64
    with pytest.raises(InvalidInput, match=message) as caught:
        ma_normalise(torch.zeros(bands, dtype=double), torch.zeros(parents, dtype=double), margin)
    assert caught.value.field == field


def test_rejected_types_and_sizes() -> None:
    bands, parents = some(5, (9, 9))
    with pytest.raises(InvalidInput, match="bands: float64 wanted"):
        ma_normalise(bands.float(), parents, 0)
    with pytest.raises(InvalidInput, match="parents: float64 wanted"):
        ma_normalise(bands, parents.float(), 0)
    assert ma_normalise(bands, parents, 3).shape == (6, 1, 1)
    with pytest.raises(ImageTooSmall, match="11 x 11 wanted for a margin of 4, got 9 x 9"):
        ma_normalise(bands, parents, 4)


def test_the_operator_rejects_by_itself(compiled: Operator) -> None:
    bands, parents = some(5, (9, 9))
    with pytest.raises(TypeError, match="ma_normalise: float64 bands and parents expected"):
        compiled(bands.float(), parents, 0)
    with pytest.raises(ValueError, match=r"bands of shape \(6, H, W\) expected, got \[5, 9, 9\]"):
        compiled(bands[:5], parents, 0)
    with pytest.raises(ValueError, match=r"parents of shape \(0 to 6, 9, 9\).*got \[5, 9, 8\]"):
        compiled(bands, parents[..., 1:], 0)
    for margin in (-1, 4):
        with pytest.raises(ValueError, match=f"leaves a pixel of 9 x 9 expected, got {margin}"):
            compiled(bands, parents, margin)


@pytest.mark.cuda
@pytest.mark.parametrize(("parents", "size", "margin"), CASES)
def test_cuda_equals_cpu(parents: int, size: tuple[int, int], margin: int) -> None:
    bands, above = some(parents, size)
    value = ma_normalise(bands.cuda(), above.cuda(), margin)
    assert value.is_cuda
    torch.testing.assert_close(value.cpu(), ma_normalise(bands, above, margin), rtol=0, atol=1e-9)
