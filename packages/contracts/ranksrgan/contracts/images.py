"""Image files and pixels: the one way in which every package reads and writes them.

Everything is read from the header first, so that a small file that claims gigapixels is refused
before a byte of it is decoded.
"""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from PIL import PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import ImageTooLarge, InvalidImage, InvalidInput
from ranksrgan.contracts.image_files import decoder_messages, exif, resolution
from ranksrgan.contracts.image_files.bmp import decode_bmp, is_for_opencv
from ranksrgan.contracts.image_files.costs import check_costs, check_exif
from ranksrgan.contracts.image_files.deep import decode_deep
from ranksrgan.contracts.image_files.encoders import SUFFIXES as SUFFIXES
from ranksrgan.contracts.image_files.encoders import Layout, open_writer
from ranksrgan.contracts.image_files.encoders.png import LONGEST_PROFILE
from ranksrgan.contracts.image_files.picture import Metadata as Metadata
from ranksrgan.contracts.image_files.picture import Picture as Picture
from ranksrgan.contracts.image_files.picture import Pixels as Pixels
from ranksrgan.contracts.image_files.samples import (
    bits_per_sample,
    is_unsigned,
    samples_per_pixel,
    wrong_channels,
)
from ranksrgan.contracts.image_files.several_pictures import check_single
from ranksrgan.contracts.image_files.upright import upright
from ranksrgan.contracts.regular_files import open_regular

#: Pixels (height times width) that a process decodes unless it is told otherwise.
MAX_PIXELS = 2**26

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")

_LIMIT = threading.Lock()  # of `PillowImage.MAX_IMAGE_PIXELS`

# What the texts of a PNG file may take when they are unpacked, and what each of them and the
# profile; Pillow's own bounds are 64 MiB and 1 MiB. One byte more, so that zlib sees the end.
PngImagePlugin.MAX_TEXT_MEMORY = 4 * 2**20
PngImagePlugin.MAX_TEXT_CHUNK = LONGEST_PROFILE + 1

decoder_messages.leave_out()

# What each Pillow mode becomes. Palettes are expanded, which is exact; CMYK has no colours
# without its profile, so it is refused rather than guessed.
_MODES = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",  # premultiplied
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBX": "RGB",
}

# The same for a picture in which one colour, or some of a palette, stand for transparency.
_MODES_WITH_TRANSPARENCY = {"1": "LA", "L": "LA", "P": "RGBA", "RGB": "RGBA"}


def list_images(folder: Path) -> list[Path]:
    """Image files directly in ``folder``, by name.

    Raises:
        InvalidInput: ``folder`` is not a folder or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field=str(folder))
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )
    if not found:
        raise InvalidInput(
            f"{folder} holds no image ({', '.join(sorted(SUFFIXES))})", field=str(folder)
        )
    return found


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read an image file: see `decode_image`.

    Raises:
        InvalidImage: the file is missing, unreadable, or not an image that is read.
        ImageTooLarge: its header claims more than ``max_pixels``.
    """
    return decode_image(image_bytes(path), name=str(path), max_pixels=max_pixels)


def image_bytes(path: Path) -> bytes:
    """What an image file holds, for `decode_image`.

    Raises:
        InvalidImage: the file is missing or unreadable, or a folder, pipe, socket or device.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}", field=str(path)) from error


def decode_image(data: bytes, *, name: str = "image", max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode PNG, JPEG, WebP, TIFF or BMP bytes, 8 or 16 bits, with the EXIF orientation applied.

    EXIF block, ICC profile and resolution come along as they are (see `Metadata`). Premultiplied
    alpha, which TIFF knows, is made straight.

    Args:
        data: the file's content.
        name: what error messages call it.
        max_pixels: the largest height times width to decode.

    Raises:
        InvalidImage: not such a file, damaged, or CMYK, floating-point or multi-band; several
            pictures in one file, as frames or pages (see `several_pictures`); or far more costly
            to read than its pixels are (see `image_files.costs`).
        ImageTooLarge: the header claims more than ``max_pixels``.
    """
    check_costs(data, name)
    with _opened(io.BytesIO(data), name, max_pixels) as image:
        if image.mode == "CMYK":
            raise InvalidImage(
                f"{name} is CMYK: amounts of ink, which have no colours without a printer's "
                "profile; convert it to RGB first, with the ICC profile that it was made for",
                field=name,
            )
        check_single(image, data, name)
        if (samples := samples_per_pixel(image)) > 4:  # of which Pillow would read four
            raise wrong_channels(samples, name)
        if is_for_opencv(data, image):
            return replace(decode_bmp(data, image, name), metadata=_metadata(image, data))
        _load(image, name)
        _check_blocks(image, name)
        metadata = _metadata(image, data)
        if bits_per_sample(image, data) > 8:
            return replace(decode_deep(data, image, name), metadata=metadata)
        if not is_unsigned(image):
            raise InvalidImage(
                f"{name} has signed numbers; convert it to 8 or 16 bits without a sign first",
                field=name,
            )
        if image.mode == "L" and bits_per_sample(image, data) in (2, 4):
            _widen_transparency(image, data)
        transparent = "transparency" in image.info
        mode = _MODES_WITH_TRANSPARENCY.get(image.mode) if transparent else None
        mode = mode or _MODES.get(image.mode)
        if mode is None:
            raise InvalidImage(
                f"{name} has pixels of kind {image.mode}; convert it to RGB or grey first",
                field=name,
            )
        pixels = upright(np.asarray(image.convert(mode)), image)
        return replace(_split_alpha(pixels), metadata=metadata)


def _load(image: PillowImage.Image, name: str) -> None:
    try:
        image.load()
    except (TypeError, struct.error) as error:  # Pillow takes a TIFF's fields for what they are not
        raise InvalidImage(f"{name} is damaged: {error}", field=name) from error


def stored_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file as its header says, before its EXIF orientation turns it.

    No more is read, so what reading the rest would cost is not checked.

    Raises:
        InvalidImage, ImageTooLarge: see `read_image`, as far as the header tells.
    """
    path = Path(path)
    try:
        file = open_regular(path)
    except OSError as error:
        raise InvalidImage(f"{path}: {error.strerror}", field=str(path)) from error
    with file, _opened(file, str(path), MAX_PIXELS) as image:
        width, height = image.size
        return height, width


@contextmanager
def _opened(file: BinaryIO, name: str, max_pixels: int) -> Iterator[PillowImage.Image]:
    """An image whose header has been read; what is wrong with it is told as of `decode_image`."""
    head, length = b"", 0
    allow_pixels(max_pixels)
    try:
        head = file.read(12)
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        if not length:
            raise InvalidImage(f"{name} is empty (0 bytes)", field=name)
        with PillowImage.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ImageTooLarge(
                    f"{name} is {width} x {height} pixels; at most {max_pixels} pixels are read",
                    field=name,
                )
            yield image
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise ImageTooLarge(
            f"{name}: its header claims far more than the {max_pixels} pixels that are read",
            field=name,
        ) from error
    except UnidentifiedImageError as error:
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise InvalidImage(
                f"{name} is a damaged TIFF file, or one of a kind that is not read (16-bit grey "
                "with alpha is one); convert it to PNG first",
                field=name,
            ) from error
        raise InvalidImage(
            f"{name} is not a PNG, JPEG, WebP, TIFF or BMP image", field=name
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InvalidImage):
            raise
        cut = _is_cut_short(head, length, error)
        why = "the file is incomplete and ends before its picture does" if cut else error
        raise InvalidImage(f"{name} is damaged: {why}", field=name) from error


def _is_cut_short(head: bytes, length: int, error: Exception) -> bool:
    """Whether a file could not be decoded because its end is missing, as Pillow says of all formats
    but WebP, whose head tells the number of bytes."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return length < 8 + int.from_bytes(head[4:8], "little")
    return "truncated" in str(error).lower()


def allow_pixels(max_pixels: int) -> None:
    """Let Pillow read as much as it is asked for: its own limit, a global one, would refuse it.

    It is never lowered, so that no thread takes from another what that has asked for.
    """
    with _LIMIT:
        limit = PillowImage.MAX_IMAGE_PIXELS
        if limit is not None and limit < max_pixels:
            PillowImage.MAX_IMAGE_PIXELS = max_pixels


def encode_image(picture: Picture, *, suffix: str = ".png", quality: int = 95) -> bytes:
    """Encode a picture: PNG and TIFF keep all of it, and every format its metadata; BMP of that the
    resolution alone.

    Args:
        picture: what to encode.
        suffix: the format, as a file suffix.
        quality: of JPEG and WebP, 1 to 100.

    Raises:
        InvalidInput: the format is unknown or cannot hold this picture.
    """
    file = io.BytesIO()
    _encode(file, picture, suffix, quality)
    return file.getvalue()


def write_image(path: Path, picture: Picture, *, quality: int = 95) -> None:
    """Write a picture to ``path``, whole or not at all, in the format of its suffix."""
    path = Path(path)
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        _encode(file, picture, path.suffix, quality)


def _encode(file: BinaryIO, picture: Picture, suffix: str, quality: int) -> None:
    writer = open_writer(file, Layout.of(picture), suffix=suffix, quality=quality)
    writer.write(picture)
    writer.close()


def to_tensor(picture: Picture) -> Tensor:
    """The colour channels as ``(1, 3|1, H, W)``: uint8 as it is, 16 bits as float64 in [0, 1].

    uint8 is kept because the metrics are defined on it; `as_float` makes what a network wants.
    """
    planes = np.array(picture.colour.transpose(2, 0, 1)[None], order="C")  # a copy: torch writes
    if planes.dtype == np.uint8:
        return torch.from_numpy(planes)
    return torch.from_numpy(planes.astype(np.float64) / picture.depth)


def as_float(images: Tensor) -> Tensor:
    """``(N, 3, H, W)`` float32 in [0, 1] from uint8 or float, grey repeated into three channels."""
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    return scaled.expand(-1, 3, -1, -1) if scaled.shape[1] == 1 else scaled


def from_tensor(image: Tensor, *, depth: int = 255) -> Picture:
    """A picture from ``(3|1, H, W)`` floating point in [0, 1], clamped and rounded.

    Args:
        image: the colour channels.
        depth: 255 for 8 bits, 65535 for 16.
    """
    if image.dtype == torch.uint8:
        planes = image.detach().cpu().numpy()
    else:
        scaled = image.detach().cpu().double().clamp(0, 1).mul(depth).round().numpy()
        planes = scaled.astype(np.uint8 if depth == 255 else np.uint16)
    return Picture(np.ascontiguousarray(planes.transpose(1, 2, 0)))


def _widen_transparency(image: PillowImage.Image, data: bytes) -> None:
    """Pillow makes 8 bits of a PNG's 2 or 4, but not of the grey that stands for transparency."""
    hidden = image.info.get("transparency")
    if image.format == "PNG" and isinstance(hidden, int):
        image.info["transparency"] = hidden * 255 // (2 ** bits_per_sample(image, data) - 1)


def _check_blocks(image: PillowImage.Image, name: str) -> None:
    """Whether Pillow may be asked for the orientation: it takes the whole block apart for it."""
    for block in (image.info.get("exif"), _raw_profile(image)):
        if isinstance(block, bytes):
            check_exif(block, name)


def _raw_profile(image: PillowImage.Image) -> bytes | None:
    """EXIF in a text of a PNG, as ImageMagick writes it: three lines, then digits."""
    text = image.info.get("Raw profile type exif")
    return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None


def _metadata(image: PillowImage.Image, data: bytes) -> Metadata:
    profile = image.info.get("icc_profile")
    if image.format == "TIFF":
        block = exif.from_tiff(data)
    else:
        block = image.info.get("exif")
        if block is None:  # as Pillow has it when it asks for the orientation
            block = _raw_profile(image)
        block = block.removeprefix(b"Exif\0\0") if isinstance(block, bytes) else None
    return Metadata(
        exif=exif.upright(block) if block else None,
        icc_profile=profile if isinstance(profile, bytes) and profile else None,
        resolution=resolution.in_file(image.format, image.info, block),
    )


def _split_alpha(pixels: npt.NDArray[np.uint8]) -> Picture:
    if pixels.ndim == 2:
        return Picture(np.ascontiguousarray(pixels[..., None]))
    if pixels.shape[2] in (2, 4):
        return Picture(
            np.ascontiguousarray(pixels[..., :-1]), np.ascontiguousarray(pixels[..., -1])
        )
    return Picture(np.ascontiguousarray(pixels))
