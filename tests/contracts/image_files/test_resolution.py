"""The resolution of a file, from each format to each other, as Pillow writes and reads it."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from ranksrgan.contracts.image_files.resolution import Resolution, in_block
from ranksrgan.contracts.images import Metadata, Picture, decode_image, encode_image
from tests.contracts.camera import camera_block, read_by_pillow

PICTURE = Picture(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
INCHES = Fraction(10_000, 254)
FORMATS = [".png", ".jpg", ".tif", ".bmp", ".webp"]


def with_resolution(x: Fraction, y: Fraction, *, metric: bool = True) -> Picture:
    return replace(PICTURE, metadata=Metadata(resolution=Resolution(x, y, metric)))


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE.colour).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_from_each_format_to_each(kind: str, suffix: str) -> None:
    picture = decode_image(saved(kind, dpi=(300, 150)))
    with Image.open(io.BytesIO(encode_image(picture, suffix=suffix))) as image:
        if suffix == ".webp":
            block = image.getexif()
            found = tuple(
                float(block[tag]) * (2.54 if block[296] == 3 else 1) for tag in (282, 283)
            )
        else:
            found = image.info["dpi"]
    assert found == pytest.approx((300, 150), abs=0.0127)  # half a pixel by the metre


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_says_nothing_becomes_one(suffix: str) -> None:
    assert decode_image(saved("JPEG")).metadata == Metadata()
    assert decode_image(encode_image(PICTURE, suffix=suffix)).metadata == Metadata()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_the_numbers_stay_as_they_are(suffix: str) -> None:
    for number in (300 * INCHES, Fraction(11_800)):  # by the inch; 118 by the centimetre
        wanted = Resolution(number, number)
        found = decode_image(encode_image(with_resolution(number, number), suffix=suffix))
        if suffix == ".png":  # which has whole numbers by the metre
            wanted = Resolution(Fraction(round(number)), Fraction(round(number)))
        assert found.metadata.resolution == wanted


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_pixels_that_are_not_square(suffix: str) -> None:
    stretched = with_resolution(Fraction(16), Fraction(11), metric=False)
    found = decode_image(encode_image(stretched, suffix=suffix))
    assert found.metadata.resolution == stretched.metadata.resolution
    bmp = decode_image(encode_image(stretched, suffix=".bmp"))
    assert bmp.metadata.resolution is None  # which has lengths alone


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_format_without_room_leaves_it_out(suffix: str) -> None:
    picture = with_resolution(Fraction(2**200), Fraction(2**200))
    assert decode_image(encode_image(picture, suffix=suffix)).metadata.resolution is None


def test_the_format_s_own_place_goes_before_exif() -> None:
    camera = Image.Exif()
    camera[271], camera[282], camera[283], camera[296] = "a camera", 72.0, 72.0, 2
    block = camera.tobytes()
    picture = decode_image(saved("JPEG", exif=block))
    assert picture.metadata.resolution == Resolution(72 * INCHES, 72 * INCHES)
    picture = decode_image(saved("JPEG", exif=block, dpi=(300, 300)))
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        made = decode_image(encode_image(picture, suffix=suffix)).metadata
        assert made.resolution is not None
        assert float(made.resolution.x / INCHES) == pytest.approx(300, abs=0.0127)
        assert made.exif is not None  # of which the other formats keep each byte
        said = in_block(made.exif)
        assert said is not None
        assert float(said.x / INCHES) == (300 if suffix in (".tif", ".webp") else 72)


def test_beside_a_block_that_does_not_say_it() -> None:
    metadata = Metadata(camera_block(orientation=1), None, Resolution(300 * INCHES, 300 * INCHES))
    picture = replace(PICTURE, metadata=metadata)
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        found = decode_image(encode_image(picture, suffix=suffix)).metadata
        assert found.resolution is not None
        assert float(found.resolution.x / INCHES) == pytest.approx(300, abs=0.0127)
        assert found.exif is not None
        assert read_by_pillow(found.exif)[271] == read_by_pillow(camera_block())[271]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_it_is_turned_with_the_picture(kind: str) -> None:
    camera = Image.Exif()
    camera[274], camera[282], camera[283], camera[296] = 6, 300.0, 150.0, 2
    for options in ({}, {"dpi": (300, 150)}):
        metadata = decode_image(saved(kind, exif=camera, **options)).metadata
        assert metadata.exif is not None
        for found in (metadata.resolution, in_block(metadata.exif)):
            assert found is not None
            by_inch = float(found.x / INCHES), float(found.y / INCHES)
            assert by_inch == pytest.approx((150, 300), abs=0.0127)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("numbers", "unit", "expected"),
    [
        ((300, 1, 300, 1), 2, 300 * INCHES),
        ((236, 2, 118, 1), 3, Fraction(11_800)),
        ((300, 0, 300, 1), 2, None),
        ((0, 1, 0, 1), 2, None),
        ((300, 1, 300, 1), 7, None),
        ((1, 1, 1, 1), 1, None),
    ],
)
def test_what_blocks_say(
    order: str, numbers: tuple[int, ...], unit: int, expected: Fraction | None
) -> None:
    mark = {"<": b"II", ">": b"MM"}[order]
    block = struct.pack(f"{order}2sHIH", mark, 42, 8, 3)
    block += struct.pack(f"{order}HHII", 282, 5, 1, 50) + struct.pack(f"{order}HHII", 283, 5, 1, 58)
    block += struct.pack(f"{order}HHIHHI", 296, 3, 1, unit, 0, 0)
    block += struct.pack(f"{order}4I", *numbers)
    found = in_block(block)
    assert (found and found.x) == expected
    assert (found and found.y) == expected
