from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import imresize, imresize_uint8, native, reference
from ranksrgan.metrics.imresize import _axes, _taps, imresize_rows, rows_under

SIDES = st.integers(1, 24)
SCALES = st.one_of(st.floats(0.1, 5.0), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0]))


Operator = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, bool], Tensor]

# (N, H, W) and size: smaller, larger, one axis each way, one pixel, untouched, none
CASES = [
    ((2, 24, 20), (12, 10)),
    ((1, 9, 7), (20, 31)),
    ((2, 17, 40), (50, 9)),
    ((2, 40, 17), (9, 50)),
    ((1, 1, 1), (3, 2)),
    ((1, 30, 21), (1, 1)),
    ((2, 6, 5), (6, 5)),
    ((0, 6, 5), (3, 3)),
]
DTYPES = [torch.uint8, torch.float32, torch.float64]


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    imresize(torch.zeros(1, 1), 1.0)  # registers the fake kernel and the gradient
    operator: Operator = torch.ops.ranksrgan.imresize.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def arguments(shape: tuple[int, int, int], size: tuple[int, int], dtype: torch.dtype) -> list[Any]:
    """Of the operator."""
    images = (torch.rand(shape, dtype=torch.float64) * 255).to(dtype)
    rows, columns = _axes(torch.empty(shape[1:]), None, size)
    taps = [torch.from_numpy(part) for axis in (rows, columns) for part in _taps(*axis)]
    return [images, *taps, columns.scale < rows.scale]


@pytest.mark.parametrize("name", ["baby", "bird", "butterfly", "head", "woman"])
def test_matlabs_bytes_on_set5(
    name: str, shared_data: Path, image_file: Callable[[Path], Tensor]
) -> None:
    original = image_file(shared_data / "images" / "set5" / f"{name}.png")
    height, width = (side // 4 * 4 for side in original.shape[-2:])
    expected = image_file(shared_data / "testvec" / "set5_LRx4_matlab" / f"{name}x4.bmp")
    assert torch.equal(imresize_uint8(original[..., :height, :width], scale=0.25), expected)


@pytest.mark.parametrize("name", ["baboon", "comic"])
def test_matlabs_doubles_rounded_once(
    name: str, shared_data: Path, image_file: Callable[[Path], Tensor]
) -> None:
    original = image_file(shared_data / "images" / "set14" / f"{name}.png")
    height, width = (side // 4 * 4 for side in original.shape[-2:])
    expected = image_file(shared_data / "testvec" / "esrgan_demo" / f"LR_{name}.png")
    small = imresize(original[..., :height, :width].double(), scale=0.25)
    assert torch.equal((small + 0.5).floor().clamp(0, 255).byte(), expected)


def keys_cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def resize_by_definition(row: list[float], size: int) -> list[float]:
    """Every output pixel as the weighted mean of the endlessly mirrored row."""
    scale = size / len(row)
    stretch = min(scale, 1.0)
    period = [*row, *reversed(row)]
    resized = []
    for k in range(size):
        centre = (k + 0.5) / scale - 0.5
        reach = math.ceil(2 / stretch) + 2
        taps = range(math.floor(centre) - reach, math.floor(centre) + reach + 1)
        weights = [keys_cubic(stretch * (centre - tap)) for tap in taps]
        total = sum(w * period[tap % len(period)] for w, tap in zip(weights, taps, strict=True))
        resized.append(total / sum(weights))
    return resized


@settings(max_examples=60)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(1, 40), st.booleans())
def test_against_the_definition(row: list[float], size: int, upright: bool) -> None:
    image = torch.tensor(row, dtype=torch.float64)[None]
    expected = resize_by_definition(row, size)
    if upright:
        resized = imresize(image.T, size=(size, 1)).flatten()
    else:
        resized = imresize(image, size=(1, size)).flatten()
    assert resized.tolist() == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60)
@given(SIDES, SIDES, SCALES, st.floats(-1e3, 1e3))
def test_a_constant_stays_constant(height: int, width: int, scale: float, value: float) -> None:
    resized = imresize(torch.full((height, width), value, dtype=torch.float64), scale=scale)
    assert resized.shape == (math.ceil(scale * height), math.ceil(scale * width))
    assert torch.allclose(resized, torch.full_like(resized, value), rtol=1e-12, atol=1e-12)


@settings(max_examples=60)
@given(st.integers(6, 12), st.sampled_from([0.25, 0.5, 2.0, 3.0, 4.0]))
def test_a_ramp_stays_linear_inside(quarter: int, scale: float) -> None:
    row = imresize(torch.arange(4.0 * quarter, dtype=torch.float64)[None], scale=scale)
    column = imresize(torch.arange(4.0 * quarter, dtype=torch.float64)[:, None], scale=scale)
    positions = (torch.arange(row.shape[1], dtype=torch.float64) + 0.5) / scale - 0.5
    inside = slice(math.ceil(2 * max(scale, 1)), -math.ceil(2 * max(scale, 1)))
    assert len(positions[inside]) > 1
    assert torch.allclose(row[0, inside], positions[inside], atol=1e-9)
    assert torch.allclose(column[inside, 0], positions[inside], atol=1e-9)


def test_halving_is_the_dyadic_filter_of_niqe() -> None:
    weights = torch.tensor([-3, -9, 29, 111, 111, 29, -9, -3], dtype=torch.float64) / 256
    column = torch.randint(0, 256, (32, 1)).double()
    padded = torch.cat([column[:4].flip(0), column, column[-4:].flip(0)])[:, 0]
    expected = torch.stack([padded[2 * y + 1 : 2 * y + 9] @ weights for y in range(16)])
    assert torch.equal(imresize(column, size=(16, 1))[:, 0], expected)


def test_a_scale_of_one_is_the_image() -> None:
    image = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    assert torch.equal(imresize(image, scale=1.0), image)


def test_batch_and_single_calls_agree_to_the_bit() -> None:
    images = torch.rand(5, 3, 17, 13)
    together = imresize(images, scale=0.37)
    assert together.dtype == torch.float32
    for single, expected in zip(images, together, strict=True):
        assert torch.equal(imresize(single, scale=0.37), expected)


def test_gradient() -> None:
    image = torch.rand(1, 2, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale=0.5), image)
    assert torch.autograd.gradcheck(lambda x: imresize(x, size=(12, 10)), image)


def test_first_use_in_inference_mode_does_not_spoil_training() -> None:
    with torch.inference_mode():
        imresize(torch.rand(11, 19), scale=0.61)
    image = torch.rand(11, 19, requires_grad=True)
    imresize(image, scale=0.61).sum().backward()
    assert image.grad is not None


def test_uint8_saturates_and_rounds_each_pass() -> None:
    edge = torch.zeros(8, 8, dtype=torch.uint8)
    edge[:, 4:] = 255
    larger = imresize_uint8(edge, scale=2.0)
    unclamped = imresize(edge.double(), scale=2.0)
    assert unclamped.min() < 0
    assert unclamped.max() > 255
    assert torch.equal(larger, (unclamped + 0.5).floor().clamp(0, 255).byte())


@pytest.mark.parametrize(
    ("images", "scale", "size", "message"),
    [
        (torch.zeros(4, 4, dtype=torch.uint8), 0.5, None, "imresize_uint8"),
        (torch.zeros(4), 0.5, None, "shape"),
        (torch.zeros(4, 0), 0.5, None, "shape"),
        (torch.zeros(4, 4), None, None, "either"),
        (torch.zeros(4, 4), 0.5, (2, 2), "either"),
        (torch.zeros(4, 4), 0.0, None, "scale"),
        (torch.zeros(4, 4), math.nan, None, "scale"),
        (torch.zeros(4, 4), None, (0, 2), "size"),
    ],
)
def test_bad_arguments(
    images: Tensor, scale: float | None, size: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        imresize(images, scale, size)


def test_uint8_form_refuses_floats() -> None:
    with pytest.raises(InvalidInput, match="uint8"):
        imresize_uint8(torch.zeros(4, 4), scale=0.5)


@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_native_equals_twin_to_the_bit(
    compiled: Operator, shape: tuple[int, int, int], size: tuple[int, int], dtype: torch.dtype
) -> None:
    images, *taps = arguments(shape, size, dtype)
    resized = compiled(images, *taps)
    assert resized.shape == (shape[0], *size)
    assert resized.dtype == dtype
    assert torch.equal(resized, reference.imresize(images, *taps))
    strided = images.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(compiled(strided, *taps), resized)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Operator, threads: Callable[[int], None], dtype: torch.dtype
) -> None:
    taken = arguments((3, 190, 230), (120, 300), dtype)
    threads(1)
    alone = compiled(*taken)
    for number in (2, 5):
        threads(number)
        assert torch.equal(compiled(*taken), alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_the_transposed_map(dtype: torch.dtype) -> None:
    """<A x, y> = <x, A' y>, in both orders of the axes."""
    for size in ((9, 30), (30, 9)):
        x = torch.rand(2, 17, 19, dtype=dtype, requires_grad=True)
        y = torch.rand(2, *size, dtype=dtype)
        resized = imresize(x, size=size)
        (transposed,) = torch.autograd.grad(resized, x, y)
        assert transposed.dtype == dtype
        inner = float((x.detach() * transposed).sum())
        assert inner == pytest.approx(float((resized.detach() * y).sum()), rel=1e-5)


def test_second_gradient() -> None:
    image = torch.rand(1, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: imresize(x, scale=0.5).square(), image)


def test_rows_that_are_missing_are_told() -> None:
    image = torch.rand(1, 12, 5)
    assert rows_under(12, 2.0, (8, 10)) == (2, 7)
    assert torch.equal(
        imresize_rows(image[:, 2:7], 2.0, 12, 2, (8, 10)), imresize(image, 2.0)[:, 8:10]
    )
    with pytest.raises(InvalidInput, match="rows 2 to 7 are needed; there are 3 to 12"):
        imresize_rows(image[:, 3:], 2.0, 12, 3, (8, 10))


def test_opcheck(compiled: Operator) -> None:
    for shape, size in CASES[:2]:
        images, *taps = arguments(shape, size, torch.float64)
        torch.library.opcheck(compiled, (images.requires_grad_(), *taps))
        torch.library.opcheck(compiled, (images.detach().byte(), *taps))


def test_torch_compile_sees_through(compiled: Operator) -> None:
    images, *taps = arguments((1, 9, 9), (4, 5), torch.float32)
    traced = torch.compile(lambda x: compiled(x, *taps) + 1, fullgraph=True, backend="eager")
    assert torch.equal(traced(images), compiled(images, *taps) + 1)


@pytest.mark.parametrize(
    ("position", "change", "error", "message"),
    [
        (0, lambda x: x.half(), TypeError, "uint8, float32 or float64 images expected, got Half"),
        (0, lambda x: x[0], ValueError, r"shape \(N, H, W\) .* got \[9, 8\]"),
        (0, lambda x: x[:, :0], ValueError, r"H, W >= 1 expected, got \[1, 0, 8\]"),
        (1, lambda x: x.int(), TypeError, "int64 indices and float64 weights of rows expected"),
        (4, lambda x: x.float(), TypeError, "weights of columns expected, got Long and Float"),
        (2, lambda x: x[1:], ValueError, r"of rows of one shape \(T, size\) expected, got"),
        (1, lambda x: x - 9, IndexError, "indices of rows from 0 to 8 expected, got -9 to"),
        (3, lambda x: x + 9, IndexError, "indices of columns from 0 to 7 expected, got 9 to 16"),
    ],
)
def test_the_operator_rejects_by_itself(
    compiled: Operator,
    position: int,
    change: Callable[[Tensor], Tensor],
    error: type[Exception],
    message: str,
) -> None:
    taken = arguments((1, 9, 8), (4, 5), torch.float32)
    taken[position] = change(taken[position])
    with pytest.raises(error, match=f"imresize: .*{message}"):
        compiled(*taken)


@pytest.mark.cuda
@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_equals_cpu_to_the_bit(
    compiled: Operator, shape: tuple[int, int, int], size: tuple[int, int], dtype: torch.dtype
) -> None:
    images, *taps = arguments(shape, size, dtype)
    resized = compiled(images.cuda(), *taps)
    assert resized.is_cuda
    assert torch.equal(resized.cpu(), compiled(images, *taps))
