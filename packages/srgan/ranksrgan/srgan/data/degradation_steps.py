"""The steps that the second-order degradation is made of: blur, resize, noise, JPEG.

Images are ``(H, W, 3)`` float32 arrays, RGB. Noise and JPEG return values in [0, 1]; blur and
resize may overshoot, as bicubic resizing and sinc filters do.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ranksrgan.contracts.images import Picture, Pixels, decode_image, encode_image
from ranksrgan.srgan.data.degradation_kernels import Weights

Array = npt.NDArray[np.float32]

#: How pixels are resized; none of them but ``area`` has antialiasing.
ResizeMode = Literal["area", "bilinear", "bicubic"]

_INTERPOLATIONS: dict[ResizeMode, int] = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}

# Of red, green and blue in the grey that grey Poisson noise is counted from (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def blur(image: Array, weights: Weights) -> Array:
    """Filter each channel; beyond the edge the image is mirrored, the edge pixel not repeated."""
    blurred = cv2.filter2D(image, -1, weights, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)


def resize(image: Array, height: int, width: int, mode: ResizeMode) -> Array:
    """Resize so that the corners of the images, not the centres of their pixels, coincide."""
    if image.shape[:2] == (height, width):
        return image
    resized = cv2.resize(image, (width, height), interpolation=_INTERPOLATIONS[mode])
    return np.asarray(resized, np.float32)


def gaussian_noise(image: Array, sigma: float, grey: bool, random: np.random.Generator) -> Array:
    """Add white noise of deviation ``sigma`` on 0..255; ``grey``: the same in all channels."""
    shape = (*image.shape[:2], 1 if grey else 3)
    noise = random.standard_normal(shape, dtype=np.float32)
    return _clipped(image + np.float32(sigma / 255) * noise)


def poisson_noise(image: Array, scale: float, grey: bool, random: np.random.Generator) -> Array:
    """Add shot noise: a pixel's variance grows with its brightness.

    The image, rounded to 8 bits, is taken as expected counts of photons, white being so many as the
    image has different values, rounded up to a power of two.

    Args:
        image: what to add to.
        scale: factor on the noise; 1 is that of the counts.
        grey: count the photons of the grey image and add the same noise to each channel.
        random: decides the counts.
    """
    expected = _clipped(image)
    if grey:
        expected = (expected @ _LUMA)[..., None]
    levels = np.rint(expected * 255).astype(np.uint8)
    white = 2 ** math.ceil(math.log2(np.count_nonzero(np.bincount(levels.ravel()))))
    expected = to_float(levels)
    counts = random.poisson(expected * white).astype(np.float32)
    return _clipped(image + np.float32(scale) * (counts / np.float32(white) - expected))


def jpeg(image: Array, quality: int) -> Array:
    """Compress as JPEG, 1 (worst) to 100, with the colours at half resolution (4:2:0)."""
    data = encode_image(Picture(to_uint8(image)), suffix=".jpg", quality=quality)
    return to_float(decode_image(data, name="a compressed crop").colour)


def to_float(pixels: Pixels) -> Array:
    """[0, 1] from 8 bits."""
    return np.asarray(pixels, np.float32) / np.float32(255)


def to_uint8(image: Array) -> npt.NDArray[np.uint8]:
    """Clamped to [0, 1] and rounded to 8 bits."""
    return np.rint(_clipped(image) * 255).astype(np.uint8)


def _clipped(image: Array) -> Array:
    return np.clip(image, np.float32(0), np.float32(1))
