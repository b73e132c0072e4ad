from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from ranksrgan.srgan.data import degradation_steps as steps
from ranksrgan.srgan.data.degradation_kernels import GaussianKernel, SincKernel


def waves(height: int = 60, width: int = 80) -> steps.Array:
    rows, columns = np.mgrid[:height, :width]
    planes = [0.5 + 0.4 * np.sin(rows / a + columns / b) for a, b in ((5, 7), (9, 4), (6, 6))]
    return np.stack(planes, -1).astype(np.float32)


def noisy(height: int, width: int, seed: int = 0) -> steps.Array:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("size", [7, 9, 11, 21])
@pytest.mark.parametrize("shape", [(40, 50), (5, 30)])
def test_blur_is_the_convolution_with_a_mirrored_border(size: int, shape: tuple[int, int]) -> None:
    image = noisy(*shape)
    for kernel in (GaussianKernel(size, (2.5, 0.7), angle=0.6), SincKernel(size, 1.5)):
        weights = kernel.weights()
        blurred = steps.blur(image, weights)
        assert blurred.dtype == np.float32
        for channel in range(3):
            expected = ndimage.convolve(image[..., channel].astype(float), weights, mode="mirror")
            np.testing.assert_allclose(blurred[..., channel], expected, atol=2e-6)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(120, 96), (17, 80), (33, 47), (1, 1)])
def test_resizes_are_those_of_torch(mode: steps.ResizeMode, size: tuple[int, int]) -> None:
    image = noisy(60, 80)
    resized = steps.resize(image, *size, mode)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(planes, size, mode=mode)[0].numpy()
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized.transpose(2, 0, 1), expected, atol=2e-4)


@pytest.mark.parametrize("size", [(30, 40), (17, 80), (33, 47), (1, 1)])
def test_shrinking_by_area_takes_the_mean_over_it(size: tuple[int, int]) -> None:
    image = noisy(60, 80)
    expected = exact_areas(image.transpose(2, 0, 1).astype(float), size)
    resized = steps.resize(image, *size, "area")
    np.testing.assert_allclose(resized.transpose(2, 0, 1), expected, atol=1e-5)


def exact_areas(planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Each output pixel is the mean over the area that it covers, parts of pixels included."""
    for axis, count in enumerate(size, start=1):
        length = planes.shape[axis]
        edges = np.linspace(0, length, count + 1)
        cover = np.array(
            [
                np.clip(
                    np.minimum(np.arange(length) + 1, b) - np.maximum(np.arange(length), a), 0, 1
                )
                for a, b in itertools.pairwise(edges)
            ]
        )
        cover /= cover.sum(axis=1, keepdims=True)
        planes = np.moveaxis(np.tensordot(cover, planes, axes=(1, axis)), 0, axis)
    return planes


@pytest.mark.parametrize("mode", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 120), (45, 60)])
def test_a_ramp_stays_where_it_was(mode: steps.ResizeMode, size: tuple[int, int]) -> None:
    """A linear image shows that corners coincide: pixel k of n stands for (k + 1/2) / n."""
    columns = (np.arange(80, dtype=np.float32) + 0.5) / 80
    image = np.broadcast_to(columns[None, :, None], (60, 80, 3)).copy()
    resized = steps.resize(image, *size, mode)
    expected = (np.arange(size[1]) + 0.5) / size[1]
    # Enlarged by area it is a staircase that keeps to the same line.
    np.testing.assert_allclose(resized[5, 4:-4, 0], expected[4:-4], atol=0.007)


def test_the_same_size_is_left_alone() -> None:
    image = noisy(9, 7)
    assert np.array_equal(steps.resize(image, 9, 7, "bicubic"), image)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_has_the_deviation_asked_for(grey: bool) -> None:
    image = np.full((200, 200, 3), 0.5, np.float32)
    noise = steps.gaussian_noise(image, 12.0, grey, np.random.default_rng(1)) - image
    assert noise.dtype == np.float32
    assert float(noise.std()) * 255 == pytest.approx(12, rel=0.02)
    assert abs(float(noise.mean())) * 255 < 0.2
    correlation = np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]
    assert correlation == pytest.approx(1 if grey else 0, abs=0.02)


@pytest.mark.parametrize("scale", [0.05, 0.3])
@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_the_variance_of_counts(scale: float, grey: bool) -> None:
    # 16 values, so white is 16 photons and a pixel of brightness b has a variance of b / 16.
    levels = np.repeat(np.arange(64, 128, 4, dtype=np.uint8), 8000).reshape(400, 320)
    image = steps.to_float(np.repeat(levels[..., None], 3, axis=2))
    noise = steps.poisson_noise(image, scale, grey, np.random.default_rng(2)) - image
    assert noise.dtype == np.float32
    for level in (64, 96, 124):
        there = noise[levels == level]
        assert float(there.var()) == pytest.approx(scale**2 * level / 255 / 16, rel=0.08)
        assert abs(float(there.mean())) < 0.05 * scale
    same = np.array_equal(noise[..., 0], noise[..., 1])
    assert same == grey


def test_grey_photons_are_counted_from_the_luma() -> None:
    image = np.zeros((300, 300, 3), np.float32)
    image[..., 1] = 1.0  # 150 of 255 in grey: one value, white is one photon
    noise = steps.poisson_noise(image, 0.1, True, np.random.default_rng(3))[..., 0]
    brightness = 150 / 255
    # 0 or more photons where `brightness` is expected; what is below 0 is clipped.
    assert float((noise == 0).mean()) == pytest.approx(np.exp(-brightness), abs=0.01)
    assert float(noise.max()) > 0.1 * (2 - brightness)


def test_noise_stays_in_range() -> None:
    image = noisy(50, 50) * 1.4 - 0.2
    for add in (steps.gaussian_noise, steps.poisson_noise):
        result = add(image, 30.0, False, np.random.default_rng(0))
        assert result.min() == 0
        assert result.max() == 1


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_that_of_another_encoder(quality: int) -> None:
    image = waves()
    file = io.BytesIO()
    Image.fromarray(steps.to_uint8(image)).save(
        file, format="JPEG", quality=quality, subsampling="4:2:0"
    )
    expected = np.asarray(Image.open(file)) / 255
    compressed = steps.jpeg(image, quality)
    assert compressed.dtype == np.float32
    np.testing.assert_allclose(compressed, expected, atol=3 / 255)
    assert float(np.abs(compressed - image).mean()) < {30: 0.03, 75: 0.02, 95: 0.01}[quality]


def test_8_bits_are_clamped_and_rounded() -> None:
    image = np.array([-0.3, 0.0, 100.4 / 255, 100.6 / 255, 1.0, 1.7], np.float32)
    assert steps.to_uint8(image).tolist() == [0, 0, 100, 101, 255, 255]
