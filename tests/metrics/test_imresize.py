from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import imresize, imresize_uint8

SIDES = st.integers(1, 24)
SCALES = st.one_of(st.floats(0.1, 5.0), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 4.0]))


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


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.integers(1, 40), st.booleans())
def test_against_the_definition(row: list[float], size: int, upright: bool) -> None:
    image = torch.tensor(row, dtype=torch.float64)[None]
    expected = resize_by_definition(row, size)
    if upright:
        resized = imresize(image.T, size=(size, 1)).flatten()
    else:
        resized = imresize(image, size=(1, size)).flatten()
    assert resized.tolist() == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, SCALES, st.floats(-1e3, 1e3))
def test_a_constant_stays_constant(height: int, width: int, scale: float, value: float) -> None:
    resized = imresize(torch.full((height, width), value, dtype=torch.float64), scale=scale)
    assert resized.shape == (math.ceil(scale * height), math.ceil(scale * width))
    assert torch.allclose(resized, torch.full_like(resized, value), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
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
