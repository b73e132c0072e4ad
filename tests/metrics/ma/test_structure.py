"""`ma_structure`: the twin against SciPy, the compiled operator against the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.ma.structure import ma_structure
from ranksrgan.metrics.reference.ma_structure import TAPS

Operator = Callable[[Sequence[Tensor], Sequence[int], Sequence[int]], Tensor]

# One window; less and more than a tile of 8 x 128 of them; more rows than the twin takes together
SIZES = [(11, 11), (12, 18), (18, 139), (30, 300), (80, 15)]
PAIRS = [(0, 1), (2, 0), (1, 1)]


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    ma_structure(planes_of((11, 11)), PAIRS)  # registers the fake kernel
    operator: Operator = torch.ops.ranksrgan.ma_structure.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def planes_of(size: tuple[int, int]) -> list[Tensor]:
    """Noise, more noise with the first in it, and a third that is against the first."""
    first, second = torch.randn(2, *size, dtype=torch.float64).mul(20).unbind()
    return [first + 100, second + first, 50 - first]


def of_pairs(function: Operator, planes: list[Tensor]) -> Tensor:
    return function(planes, [i for i, _ in PAIRS], [j for _, j in PAIRS])


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    offsets = np.arange(-5, 6)
    bell = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(bell, bell) / bell.sum() ** 2

    def smooth(plane: np.ndarray) -> np.ndarray:
        return correlate(plane, window)[5:-5, 5:-5]

    c2 = 58.5225
    covariance = smooth(x * y) - smooth(x) * smooth(y)
    variances = smooth(x * x) - smooth(x) ** 2 + smooth(y * y) - smooth(y) ** 2
    return float(((2 * covariance + c2) / (variances + c2)).mean())


def test_the_window_is_the_normalised_gaussian() -> None:
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    assert pytest.approx(bell[:6] / bell.sum(), rel=1e-15) == TAPS


@pytest.mark.parametrize("size", SIZES)
def test_twin_equals_scipy(size: tuple[int, int]) -> None:
    planes = planes_of(size)
    value = of_pairs(reference.ma_structure, planes)
    wanted = [by_scipy(planes[i].numpy(), planes[j].numpy()) for i, j in PAIRS]
    np.testing.assert_allclose(value.numpy(), wanted, rtol=1e-11)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_native_equals_twin(compiled: Operator, size: tuple[int, int], contiguous: bool) -> None:
    planes = planes_of(size)
    if not contiguous:
        planes = [plane.T.contiguous().T for plane in planes]
    value, wanted = of_pairs(compiled, planes), of_pairs(reference.ma_structure, planes)
    torch.testing.assert_close(value, wanted, rtol=1e-13, atol=0)


def test_extremes() -> None:
    plane = planes_of((20, 150))[0]
    same, against, flat = ma_structure(
        [plane, -plane, torch.zeros_like(plane)], [(0, 0), (0, 1), (2, 2)]
    )
    assert float(same) == pytest.approx(1, abs=1e-12)
    assert float(flat) == 1
    assert -1 < float(against) < -0.7  # not clamped


def test_values_do_not_depend_on_the_number_of_threads_or_the_other_pairs(
    compiled: Operator, threads: Callable[[int], None]
) -> None:
    planes = planes_of((90, 200))
    threads(1)
    alone = of_pairs(compiled, planes)
    threads(4)
    assert torch.equal(of_pairs(compiled, planes), alone)
    assert torch.equal(compiled([planes[2], planes[0]], [0], [1]), alone[1:2])


def test_opcheck(compiled: Operator) -> None:
    torch.library.opcheck(compiled, (planes_of((12, 13)), [0, 1], [2, 1]))
    torch.library.opcheck(compiled, (planes_of((12, 13)), [], []))


@pytest.mark.parametrize(
    ("shapes", "pairs", "error", "field", "message"),
    [
        ([], [], InvalidInput, "planes", r"one or more of one shape \(H, W\) wanted, got \[\]"),
        ([(1, 12, 12)], [], InvalidInput, "planes", r"got \[\(1, 12, 12\)\]"),
        ([(12, 12), (12, 13)], [], InvalidInput, "planes", r"got \[\(12, 12\), \(12, 13\)\]"),
        ([(12, 12)], [(0, 1)], InvalidInput, "pairs", r"from 0 to 0 wanted, got \[\(0, 1\)\]"),
        ([(12, 12)], [(-1, 0)], InvalidInput, "pairs", "from 0 to 0 wanted"),
        ([(12, 10)], [], ImageTooSmall, "planes", "at least 11 x 11 wanted, got 12 x 10"),
    ],
)
def test_rejected_input(
    shapes: list[tuple[int, ...]],
    pairs: list[tuple[int, int]],
    error: type[InvalidInput],
    field: str,
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        ma_structure([torch.zeros(shape, dtype=torch.float64) for shape in shapes], pairs)
    assert caught.value.field == field


def test_rejected_type() -> None:
    with pytest.raises(InvalidInput, match="planes: float64 wanted, got"):
        ma_structure([torch.zeros(12, 12)], [])


def test_the_operator_rejects_by_itself(compiled: Operator) -> None:
    plane = torch.zeros(12, 12, dtype=torch.float64)
    with pytest.raises(TypeError, match="ma_structure: float64 planes expected, got Float"):
        compiled([plane.float()], [], [])
    with pytest.raises(ValueError, match=r"of one shape \(H, W\) with H, W >= 11 .*got \[12, 10\]"):
        compiled([plane[:, 2:]], [], [])
    with pytest.raises(ValueError, match=r"of one shape .*got \[12, 11\]"):
        compiled([plane, plane[:, 1:]], [], [])
    with pytest.raises(ValueError, match="as many first as second indices expected, got 1 and 0"):
        compiled([plane], [0], [])
    with pytest.raises(IndexError, match="indices from 0 to 0 expected, got 1"):
        compiled([plane], [0], [1])


@pytest.mark.cuda
@pytest.mark.parametrize("size", SIZES)
def test_cuda_equals_cpu(size: tuple[int, int]) -> None:
    planes = planes_of(size)
    value = ma_structure([plane.cuda() for plane in planes], PAIRS)
    assert value.is_cuda
    torch.testing.assert_close(value.cpu(), ma_structure(planes, PAIRS), rtol=1e-12, atol=0)
