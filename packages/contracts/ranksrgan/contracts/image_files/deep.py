"""Images of more than 8 bits a sample, which Pillow narrows to 8: OpenCV reads their pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files import opencv
from ranksrgan.contracts.image_files.costs import check_unpacked
from ranksrgan.contracts.image_files.picture import Picture
from ranksrgan.contracts.image_files.png_chunks import pixels_alone
from ranksrgan.contracts.image_files.samples import (
    NO_ALPHA,
    PREMULTIPLIED,
    bits_per_sample,
    is_negative,
    is_unsigned,
    kind_of_the_fourth,
    separate_samples,
    wrong_channels,
)
from ranksrgan.contracts.image_files.separate_planes import separate_planes
from ranksrgan.contracts.image_files.upright import upright


def decode_deep(data: bytes, image: PillowImage.Image, name: str) -> Picture:
    """The pixels of such an image, 16 bits each and upright, without metadata.

    Args:
        data: the file's content.
        image: the same, as Pillow has opened it.
        name: what error messages call it.

    Raises:
        InvalidImage: damaged, of another number of bits or channels, or far more costly to read
            than its pixels are.
        ImageTooLarge: larger than OpenCV reads.
    """
    if image.format == "PNG":
        check_unpacked(data, name)
        data = pixels_alone(data)
    samples = separate_samples(image)
    if samples > 1:
        planes = [_read_deep(plane, image, name) for plane in separate_planes(data, samples, name)]
        deep = np.dstack(planes[2::-1] + planes[3:])  # as OpenCV has it: blue first
    else:
        deep = _read_deep(data, image, name)
    if image.format == "PNG":  # OpenCV turns TIFF upright and leaves PNG as it lies
        deep = upright(deep, image)
    if deep.ndim == 2:
        if is_negative(image):  # which Pillow takes care of at 8 bits, and OpenCV at none
            deep = ~deep
        hidden = image.info.get("transparency")  # a grey value; OpenCV reads it for RGB alone
        alpha = None if hidden is None else np.where(deep == hidden, 0, 65535).astype(np.uint16)
        return Picture(deep[..., None], alpha)
    if deep.shape[2] == 3:
        return Picture(np.ascontiguousarray(deep[..., ::-1]))
    if deep.shape[2] == 4 and image.format == "PNG" and data[25] == 4:  # grey, which OpenCV repeats
        return Picture(np.ascontiguousarray(deep[..., :1]), np.ascontiguousarray(deep[..., 3]))
    if deep.shape[2] == 4:
        colour = np.ascontiguousarray(deep[..., 2::-1])
        fourth = kind_of_the_fourth(image)
        if fourth == NO_ALPHA:
            return Picture(colour)
        alpha = np.ascontiguousarray(deep[..., 3])
        if fourth == PREMULTIPLIED:
            _divide(colour, alpha)
        return Picture(colour, alpha)
    raise wrong_channels(deep.shape[2], name)


def _read_deep(data: bytes, image: PillowImage.Image, name: str) -> npt.NDArray[np.uint16]:
    pixels = opencv.decode(data, image, name, "of 16 bits")
    if pixels is None and bits_per_sample(image, data) == 16 and is_unsigned(image):
        raise InvalidImage(f"{name} is damaged: its pixels cannot be decoded", field=name)
    if pixels is None or pixels.dtype != np.uint16:
        raise InvalidImage(
            f"{name} has neither 8 nor 16 bits a sample; convert it first", field=name
        )
    deep = pixels.astype(np.uint16, copy=False)
    if (bits := bits_per_sample(image, data)) < 16:
        _widen(deep, bits)
    return deep


def _widen(pixels: npt.NDArray[np.uint16], bits: int) -> None:
    """Make white 65535, in place: OpenCV puts zeros behind the bits of a TIFF that has fewer."""
    most = np.uint32(2**bits - 1)
    for row in pixels:
        few = row.astype(np.uint32) >> (16 - bits)
        row[:] = (few * np.uint32(65535) + most // 2) // most


def _divide(colour: npt.NDArray[np.uint16], alpha: npt.NDArray[np.uint16]) -> None:
    """Make premultiplied colour straight, in place; black where nothing is visible."""
    for row, opacity in zip(colour, alpha.astype(np.uint32)[..., None], strict=True):
        most = np.minimum(row, opacity)  # more than its alpha is a damaged pixel
        half = opacity // 2
        row[:] = (most * np.uint32(65535) + half) // np.maximum(opacity, 1)
