"""`ma_dct`: the twin against SciPy, the compiled operator against the twin; its pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.fft import dct, dctn
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.ggd import ggd_shape
from ranksrgan.metrics.ma.dct import BlockDct, dct_features, ma_dct
from ranksrgan.metrics.reference.ma_dct import COSINES, ORIENTATIONS

Operator = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

# Remainders 0, 1 and 2 of both sides, more windows than eight in a row, none at all
SHAPES = [(1, 1, 1), (2, 3, 7), (1, 4, 5), (3, 5, 6), (2, 13, 30), (1, 40, 37), (0, 8, 8)]


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    ma_dct(torch.zeros(1, 1, 1, dtype=torch.float64))  # registers the fake kernel
    operator: Operator = torch.ops.ranksrgan.ma_dct.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def photograph_like(*shape: int) -> Tensor:
    planes = torch.rand(shape, dtype=torch.float64)
    planes[..., : shape[-2] // 2, :] = 0.3
    return planes


def by_scipy(plane: np.ndarray) -> list[np.ndarray]:
    """Every window by itself, coefficient sets as the paper's figure lists them."""
    height, width = plane.shape
    rows, columns = math.ceil(height / 3), math.ceil(width / 3)
    padded = np.zeros((3 * rows + 4, 3 * columns + 4))
    padded[2 : 2 + height, 2 : 2 + width] = plane
    horizontal = {1: range(2, 8), 2: range(3, 8), 3: range(5, 8), 4: range(6, 8)}
    sets = [[(i - 1, j - 1) for i, js in horizontal.items() for j in js]]
    diagonal = [(2, 2), (3, 3), (3, 4), (4, 3), (4, 4), (4, 5), (5, 4), (5, 5), (5, 6), (5, 7)]
    diagonal += [(6, 5), (6, 6), (6, 7), (7, 5), (7, 6), (7, 7)]
    sets.append([(i - 1, j - 1) for i, j in diagonal])
    sets.append([(j, i) for i, j in sets[0]])
    results = [np.empty((rows, columns)) for _ in range(3)]
    for row in range(rows):
        for column in range(columns):
            window = padded[3 * row : 3 * row + 7, 3 * column : 3 * column + 7]
            transformed = dctn(window, norm="ortho")
            c = transformed.ravel()[1:]
            size = np.abs(c)
            results[0][row, column] = c.var(ddof=1) / (np.abs(c - c.mean()).mean() ** 2 + 1e-7)
            results[1][row, column] = size.std(ddof=1) / (size.mean() + 1e-7)
            rho = []
            for one in sets:
                some = np.abs([transformed[place] for place in one])
                rho.append(some.std(ddof=1) / (some.mean() + 1e-8))
            results[2][row, column] = np.var(rho, ddof=1)
    return results


def test_the_cosines_are_the_orthonormal_dct() -> None:
    full = dct(np.eye(7), norm="ortho", axis=0)
    assert np.abs(np.array(COSINES) - full[:, :3]).max() < 1e-15


def test_the_orientations_mirror_each_other() -> None:
    assert [ORIENTATIONS[u][v] for u in range(7) for v in range(7)] == [
        {"0": "2", "2": "0"}.get(ORIENTATIONS[v][u], ORIENTATIONS[v][u])
        for u in range(7)
        for v in range(7)
    ]
    assert [sum(row.count(one) for row in ORIENTATIONS) for one in "012."] == [16, 16, 16, 1]


@pytest.mark.parametrize("shape", SHAPES)
def test_twin_equals_scipy(shape: tuple[int, int, int]) -> None:
    planes = torch.rand(shape, dtype=torch.float64)
    results = reference.ma_dct(planes)
    for value in results:
        assert value.shape == (shape[0], math.ceil(shape[1] / 3), math.ceil(shape[2] / 3))
    for index in range(shape[0]):
        for value, wanted in zip(results, by_scipy(planes[index].numpy()), strict=True):
            np.testing.assert_allclose(value[index].numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_native_equals_twin(
    compiled: Operator, shape: tuple[int, int, int], contiguous: bool
) -> None:
    planes = photograph_like(*shape)
    if not contiguous:
        planes = planes.transpose(1, 2).contiguous().transpose(1, 2)
    for value, wanted in zip(compiled(planes), reference.ma_dct(planes), strict=True):
        assert value.dtype == torch.float64
        assert value.shape == wanted.shape
        # Only torch's own root may differ, by its last bit.
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("function", [ma_dct, reference.ma_dct])
def test_flat_windows_have_no_rounding_noise(function: Operator) -> None:
    planes = torch.full((1, 30, 30), 1 / 3, dtype=torch.float64)
    inside = [value[0, 1:-1, 1:-1] for value in function(planes)]
    for value in inside:
        assert torch.equal(value, torch.zeros_like(value))
    assert bool((ggd_shape(inside[0]) == 10.0).all())


@pytest.mark.parametrize("function", [ma_dct, reference.ma_dct])
def test_stripes_have_one_orientation_and_nothing_in_the_others(function: Operator) -> None:
    stripes = torch.rand(30, dtype=torch.float64)
    _, _, across = function(stripes.expand(1, 30, 30))
    _, _, down = function(stripes[:, None].expand(1, 30, 30).contiguous())
    torch.testing.assert_close(across.mT, down, rtol=1e-12, atol=0)
    # Of the frequencies of one column, six coefficients are in the first group and the rest is 0.
    window = dct(stripes[1:8].numpy(), norm="ortho")[1:] * math.sqrt(7)
    some = np.abs(np.concatenate([window, np.zeros(10)]))
    rho = some.std(ddof=1) / (some.mean() + 1e-8)
    assert float(across[0, 1, 1]) == pytest.approx(np.var([rho, 0, 0], ddof=1), rel=1e-9)


def test_a_plane_does_not_depend_on_its_batch() -> None:
    planes = photograph_like(5, 21, 19)
    for function in (ma_dct, reference.ma_dct):
        together = function(planes)
        for index in range(5):
            for value, alone in zip(together, function(planes[index : index + 1]), strict=True):
                assert torch.equal(value[index], alone[0])


def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Operator, threads: Callable[[int], None]
) -> None:
    planes = photograph_like(2, 100, 97)
    threads(1)
    alone = compiled(planes)
    threads(4)
    for value, wanted in zip(compiled(planes), alone, strict=True):
        assert torch.equal(value, wanted)


def test_opcheck(compiled: Operator) -> None:
    for shape in ((2, 5, 6), (0, 3, 3)):
        torch.library.opcheck(compiled, (torch.rand(shape, dtype=torch.float64),))
    torch.library.opcheck(compiled, (torch.rand(1, 6, 5, dtype=torch.float64).transpose(1, 2),))


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        (
            torch.zeros(8, 8, dtype=torch.float64),
            r"planes: shape \(N, H, W\) with H, W >= 1 wanted, got \(8, 8\)",
        ),
        (torch.zeros(1, 0, 8, dtype=torch.float64), r"got \(1, 0, 8\)"),
        (torch.zeros(1, 8, 8), "planes: float64 wanted, got torch.float32"),
    ],
)
def test_rejected_input(planes: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        ma_dct(planes)
    assert caught.value.field == "planes"


def test_the_operator_rejects_by_itself(compiled: Operator) -> None:
    with pytest.raises(TypeError, match="ma_dct: float64 planes expected, got Float"):
        compiled(torch.zeros(1, 8, 8))
    with pytest.raises(ValueError, match=r"ma_dct: planes of shape \(N, H, W\).*got \[8, 8\]"):
        compiled(torch.zeros(8, 8, dtype=torch.float64))


def test_no_gradient_is_promised() -> None:
    planes = torch.rand(1, 9, 9, dtype=torch.float64, requires_grad=True)
    result = ma_dct(planes)
    assert isinstance(result, BlockDct)
    assert result._fields == ("ratio", "variation", "orientation")
    assert not result.ratio.requires_grad


@pytest.mark.parametrize("shape", [(1, 4), (9, 10), (31, 40)])
def test_features_pool_as_the_published_software_counts(shape: tuple[int, int]) -> None:
    plane = torch.rand(shape, dtype=torch.float64)
    ratio, variation, orientation = (value.flatten().tolist() for value in ma_dct(plane[None]))
    shapes = sorted(ggd_shape(torch.tensor(ratio, dtype=torch.float64)).tolist())
    n = len(shapes)  # 2, 12, 154
    lowest, first = math.ceil(n * 0.1), math.floor(n * 0.9)
    expected = [np.mean(shapes[:lowest]), np.mean(shapes)]
    for values in (variation, orientation):
        # MATLAB's sorted(first:n), counted from 1: one more than a tenth
        highest = sorted(values)[first - 1 :]
        assert len(highest) == n - first + 1
        expected += [np.mean(highest), np.mean(values)]
    assert dct_features(plane).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.cuda
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_cpu(shape: tuple[int, int, int]) -> None:
    planes = photograph_like(*shape)
    for value, wanted in zip(ma_dct(planes.cuda()), ma_dct(planes), strict=True):
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), wanted, rtol=0, atol=1e-14)
