"""`patch_crops`: the twin against slicing and SciPy, the compiled operator against the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.mscn import mscn
from ranksrgan.metrics.patch_crops import PatchCrops, patch_crops

# (N, C, H, W), size, stride: one crop, overlap, gaps, a size that leaves a remainder, 1x1, empty
CASES = [
    ((1, 3, 8, 8), 8, 3),
    ((2, 3, 21, 33), 8, 5),
    ((2, 1, 21, 33), 4, 9),
    ((1, 3, 40, 41), 19, 7),
    ((2, 1, 3, 2), 1, 1),
    ((1, 3, 72, 80), 70, 2),  # a GPU measures it in several parts
    ((0, 3, 9, 9), 5, 2),
]
DTYPES = [torch.uint8, torch.float32, torch.float64]


@pytest.fixture
def compiled() -> Callable[[Tensor, int, int], tuple[Tensor, Tensor]]:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    patch_crops(torch.zeros(1, 1, 1, 1), 1, 1)  # registers the fake kernel and the gradient
    operator: Callable[[Tensor, int, int], tuple[Tensor, Tensor]]
    operator = torch.ops.ranksrgan.patch_crops.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def images_of(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    images = torch.randint(0, 256, shape, dtype=torch.uint8)
    images[..., : shape[2] // 2, :] = 77
    return images if dtype == torch.uint8 else images.to(dtype) / 255


def by_scipy(crop: np.ndarray) -> float:
    """Mean local deviation of one crop (C, size, size) on 0..255."""
    to_ntsc = np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]])
    grey = crop[0] if len(crop) == 1 else np.tensordot(np.linalg.inv(to_ntsc)[0], crop, 1)
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = correlate(grey, window, mode="nearest")
    variance = correlate(grey**2, window, mode="nearest") - mean**2
    return float(np.sqrt(np.abs(variance)).mean())


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_slicing_and_scipy(
    shape: tuple[int, int, int, int], size: int, stride: int, dtype: torch.dtype
) -> None:
    images = images_of(shape, dtype)
    crops, sharpness = reference.patch_crops(images, size, stride)
    boxes = patch_crops(images, size, stride).boxes
    expected = [
        (top, left)
        for top in range(0, shape[2] - size + 1, stride)
        for left in range(0, shape[3] - size + 1, stride)
    ]
    assert boxes.dtype == torch.int64
    assert [tuple(box) for box in boxes.tolist()] == expected
    assert crops.dtype == dtype
    assert crops.shape == (shape[0], len(expected), shape[1], size, size)
    assert sharpness.dtype == torch.float64
    assert sharpness.shape == crops.shape[:2]
    scale = 1 if dtype == torch.uint8 else 255
    for image, cut, values in zip(images, crops, sharpness, strict=True):
        for (top, left), crop, value in zip(expected, cut, values, strict=True):
            wanted = image[:, top : top + size, left : left + size]
            assert torch.equal(crop, wanted)
            # In flat crops the root turns rounding of 1e-12 into 1e-6.
            assert abs(value.item() - by_scipy(wanted.double().numpy() * scale)) < 1e-5


def test_sharpness_is_the_mean_deviation_of_the_crop_alone() -> None:
    images = torch.randint(0, 256, (1, 1, 30, 30), dtype=torch.uint8)
    result = patch_crops(images, 15, 15)
    for crop, value in zip(result.crops[0], result.sharpness[0], strict=True):
        assert abs(mscn(crop.double()).deviation.mean() - value) < 1e-10


def test_float_images_are_as_sharp_as_their_bytes() -> None:
    images = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    of_bytes = patch_crops(images, 12, 4).sharpness
    of_floats = patch_crops(images.double() / 255, 12, 4).sharpness
    torch.testing.assert_close(of_bytes, of_floats, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_native_equals_twin(
    compiled: Callable[..., tuple[Tensor, Tensor]],
    shape: tuple[int, int, int, int],
    size: int,
    stride: int,
    dtype: torch.dtype,
    contiguous: bool,
) -> None:
    images = images_of(shape, dtype)
    if not contiguous:
        images = images.contiguous(memory_format=torch.channels_last)
    crops, sharpness = compiled(images, size, stride)
    wanted_crops, wanted_sharpness = reference.patch_crops(images, size, stride)
    assert torch.equal(crops, wanted_crops)
    assert crops.dtype == dtype
    torch.testing.assert_close(sharpness, wanted_sharpness, rtol=0, atol=1e-10)


def test_more_crops_than_are_measured_together() -> None:
    images = torch.rand(3, 1, 12, 12, dtype=torch.float64)
    together = reference.patch_crops(images, 5, 1)[1]
    for index in range(3):
        alone = reference.patch_crops(images[index : index + 1], 5, 1)[1]
        assert torch.equal(together[index], alone[0])


def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Callable[..., tuple[Tensor, Tensor]], threads: Callable[[int], None]
) -> None:
    images = images_of((2, 3, 60, 61), torch.float32)
    threads(1)
    alone = compiled(images, 25, 9)
    threads(4)
    for value, wanted in zip(compiled(images, 25, 9), alone, strict=True):
        assert torch.equal(value, wanted)


def both(images: Tensor) -> tuple[Tensor, Tensor]:
    return patch_crops(images, 4, 2)[:2]


def of_twin(images: Tensor) -> tuple[Tensor, Tensor]:
    return reference.patch_crops(images, 4, 2)


@pytest.mark.parametrize("function", [both, of_twin])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradient(function: Callable[[Tensor], tuple[Tensor, Tensor]], channels: int) -> None:
    images = torch.rand(1, channels, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (images,))


def test_gradient_of_the_crops_counts_how_often_a_pixel_was_cut() -> None:
    images = torch.rand(1, 1, 4, 6, requires_grad=True)
    patch_crops(images, 4, 1).crops.sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad[0, 0], torch.tensor([[1.0, 2, 3, 3, 2, 1]]).expand(4, 6))


def test_gradient_of_the_sharpness_alone() -> None:
    images = torch.rand(1, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    patch_crops(images, 5, 2).sharpness.sum().backward()
    again = images.detach().clone().requires_grad_()
    reference.patch_crops(again, 5, 2)[1].sum().backward()
    assert images.grad is not None
    assert again.grad is not None
    assert images.grad.abs().max() > 0
    torch.testing.assert_close(images.grad, again.grad, rtol=0, atol=1e-12)


def test_opcheck(compiled: Callable[..., tuple[Tensor, Tensor]]) -> None:
    images = torch.rand(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(compiled, (images, 5, 2))
    torch.library.opcheck(compiled, (images_of((1, 1, 6, 6), torch.uint8), 3, 3))


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "stride", "error", "field", "message"),
    [
        ((3, 8, 8), torch.uint8, 4, 4, InvalidInput, "images", r"\(N, 3 or 1, H, W\) wanted"),
        ((1, 4, 8, 8), torch.uint8, 4, 4, InvalidInput, "images", r"got \(1, 4, 8, 8\)"),
        ((1, 3, 8, 8), torch.int64, 4, 4, InvalidInput, "images", "got torch.int64"),
        ((1, 3, 8, 8), torch.uint8, 0, 4, InvalidInput, "size", "size: at least 1 wanted, got 0"),
        ((1, 3, 8, 8), torch.uint8, 4, -1, InvalidInput, "stride", "stride: at least 1 wanted"),
        (
            (1, 3, 8, 7),
            torch.uint8,
            8,
            4,
            ImageTooSmall,
            "images",
            "at least 8 x 8 pixels wanted for one crop, got 8 x 7",
        ),
    ],
)
def test_rejected_input(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    size: int,
    stride: int,
    error: type[InvalidInput],
    field: str,
    message: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        patch_crops(torch.zeros(shape, dtype=dtype), size, stride)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "stride", "error", "message"),
    [
        ((1, 3, 8, 8), torch.int64, 4, 4, TypeError, "uint8, float32 or float64 .*, got Long"),
        (
            (1, 2, 8, 8),
            torch.uint8,
            4,
            4,
            ValueError,
            r"\(N, 3 or 1, H, W\) .*, got \[1, 2, 8, 8\]",
        ),
        ((1, 1, 8, 8), torch.uint8, 4, 0, ValueError, "at least 1 expected, got 4 and 0"),
        ((1, 1, 8, 7), torch.uint8, 8, 4, ValueError, "at least 8 x 8 expected, got 8 x 7"),
    ],
)
def test_the_operator_rejects_by_itself(
    compiled: Callable[..., tuple[Tensor, Tensor]],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    size: int,
    stride: int,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=f"patch_crops: .*{message}"):
        compiled(torch.zeros(shape, dtype=dtype), size, stride)


def test_named_results() -> None:
    result = patch_crops(torch.zeros(1, 1, 4, 4), 2, 2)
    assert isinstance(result, PatchCrops)
    assert result._fields == ("crops", "sharpness", "boxes")


@pytest.mark.cuda
@pytest.mark.parametrize(("shape", "size", "stride"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_equals_cpu(
    shape: tuple[int, int, int, int], size: int, stride: int, dtype: torch.dtype
) -> None:
    images = images_of(shape, dtype)
    value, wanted = patch_crops(images.cuda(), size, stride), patch_crops(images, size, stride)
    assert torch.equal(value.crops.cpu(), wanted.crops)
    assert torch.equal(value.boxes.cpu(), wanted.boxes)
    torch.testing.assert_close(value.sharpness.cpu(), wanted.sharpness, rtol=0, atol=1e-10)
