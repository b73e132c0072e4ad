from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.encoders import Layout, open_writer
from ranksrgan.contracts.image_files.encoders.jpeg import JpegWriter
from ranksrgan.contracts.image_files.encoders.tiff import TiffWriter
from ranksrgan.contracts.images import (
    Metadata,
    Picture,
    decode_image,
    encode_image,
    read_image,
)
from tests.contracts.camera import EXIF, ORIENTATION, PIXEL_WIDTH, camera_block, read_by_pillow

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KEEPING = [".png", ".jpg", ".webp", ".tif"]  # metadata


def random_picture(
    height: int, width: int, channels: int = 3, alpha: bool = False, dtype: type = np.uint8
) -> Picture:
    rng, top = np.random.default_rng(height), np.iinfo(dtype).max
    colour = rng.integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)
    plane = rng.integers(0, top, (height, width), dtype=dtype, endpoint=True)
    return Picture(colour, plane if alpha else None)


def in_strips(picture: Picture, suffix: str, heights: list[int]) -> bytes:
    file = io.BytesIO()
    writer = open_writer(file, Layout.of(picture), suffix=suffix, quality=90)
    top = 0
    while top < picture.height:
        for height in heights:
            if top < picture.height:
                writer.write(picture.rows(top, top + height))
            top += height
    writer.close()
    return file.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(1, 17), min_size=1, max_size=4))
def test_lossless_in_strips_of_any_height(
    dtype: type, alpha: bool, channels: int, height: int, width: int, heights: list[int]
) -> None:
    picture = random_picture(height, width, channels, alpha, dtype)
    png = in_strips(picture, ".png", heights)
    for data in (png, in_strips(picture, ".tif", heights)):
        decoded = decode_image(data)
        assert decoded.colour.dtype == dtype
        assert np.array_equal(*np.broadcast_arrays(decoded.colour, picture.colour))
        assert (decoded.alpha is None) == (not alpha)
        assert not alpha or np.array_equal(decoded.alpha, picture.alpha)  # type: ignore[arg-type]
    assert decode_image(png).colour.shape[2] == channels


@pytest.mark.parametrize("channels", [1, 3])
@given(st.integers(1, 400), st.integers(1, 40), st.lists(st.integers(1, 300), min_size=1))
def test_a_jpeg_in_strips_is_the_jpeg_of_the_whole(
    channels: int, height: int, width: int, heights: list[int]
) -> None:
    picture = random_picture(height, width, channels)
    pixels = picture.colour if channels == 3 else picture.colour[..., 0]
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "JPEG", quality=90, restart_marker_rows=1)
    assert in_strips(picture, ".jpg", heights) == whole.getvalue()


@pytest.mark.parametrize("suffix", [".webp", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_collected_formats_do_not_depend_on_the_strips(suffix: str, channels: int) -> None:
    picture = random_picture(30, 20, channels, alpha=suffix == ".webp")
    assert in_strips(picture, suffix, [7, 1]) == in_strips(picture, suffix, [30])


def test_pixels_are_those_of_opencv_s_jpeg(shared_data: Path) -> None:
    photograph = read_image(shared_data / "images" / "set14" / "baboon.png").colour[:301, :333]
    for quality in (30, 95):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        expected = cv2.imencode(".jpg", photograph[..., ::-1], options)[1].tobytes()
        ours = encode_image(Picture(photograph), suffix=".jpg", quality=quality)
        assert np.array_equal(decode_image(ours).colour, decode_image(expected).colour)


@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff_is_the_same_picture(order: str) -> None:
    block = camera_block(order, orientation=1)
    for dtype in (np.uint8, np.uint16):
        picture = random_picture(50, 40, alpha=True, dtype=dtype)
        picture = replace(picture, metadata=Metadata(block, PROFILE))
        file = io.BytesIO()
        writer = TiffWriter(file, Layout.of(picture), classic_limit=1)
        writer.write(picture)
        writer.close()
        data = file.getvalue()
        assert data[:4] == b"II+\0"
        decoded = decode_image(data)
        assert np.array_equal(decoded.colour, picture.colour)
        assert np.array_equal(decoded.alpha, picture.alpha)  # type: ignore[arg-type]
        assert decoded.metadata.icc_profile == PROFILE
        assert decoded.metadata.exif is not None
        assert read_by_pillow(decoded.metadata.exif).get_ifd(EXIF)[PIXEL_WIDTH] == 40


def test_many_strips_in_one_tiff() -> None:
    picture = random_picture(700, 1000, dtype=np.uint16)
    data = encode_image(picture, suffix=".tif")
    strips = next(field for field in exif.read_fields(data) if field.tag == 273)
    assert len(strips.values) == 4 * 5  # of at most 1 MiB
    assert np.array_equal(decode_image(data).colour, picture.colour)


# Metadata


@pytest.mark.parametrize("suffix", KEEPING)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_profile_and_exif_come_through(suffix: str, order: str, channels: int) -> None:
    block = camera_block(order, orientation=1)
    picture = replace(random_picture(8, 12, channels), metadata=Metadata(block, PROFILE))
    decoded = decode_image(encode_image(picture, suffix=suffix)).metadata
    assert decoded.icc_profile == PROFILE
    assert decoded.exif is not None
    if suffix == ".tif":  # a new block: the fields are the same, to the byte
        assert exif.describing(decoded.exif)[0].values == b"K\xf6nig Kamerawerke\0"
        inner = read_by_pillow(decoded.exif).get_ifd(EXIF)
        assert inner[37500] == bytes(range(256))
        assert (inner[PIXEL_WIDTH], inner[33434]) == (12, 1 / 250)
    else:
        assert decoded.exif == block


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_grey_with_alpha_keeps_its_metadata(suffix: str) -> None:
    picture = random_picture(9, 7, 1, alpha=True, dtype=np.uint16)
    picture = replace(picture, metadata=Metadata(camera_block(orientation=1), PROFILE))
    decoded = decode_image(encode_image(picture, suffix=suffix))
    assert decoded.metadata.icc_profile == PROFILE
    assert decoded.metadata.exif is not None
    assert read_by_pillow(decoded.metadata.exif).get_ifd(EXIF)[PIXEL_WIDTH] == 7


@pytest.mark.parametrize(
    ("suffix", "alpha", "dtype", "kept"),
    [
        (".webp", False, np.uint8, False),
        (".webp", True, np.uint8, False),
        (".tif", True, np.uint16, False),
        (".tif", True, np.uint8, True),
        (".tif", False, np.uint16, True),
        (".png", True, np.uint16, True),
        (".jpg", False, np.uint8, True),
    ],
)
def test_a_profile_of_greys_is_not_put_on_three_channels(
    suffix: str, alpha: bool, dtype: type, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    greys = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    grey = random_picture(9, 7, 1, alpha=alpha, dtype=dtype)
    grey = replace(grey, metadata=Metadata(camera_block(orientation=1), greys))
    made = decode_image(encode_image(grey, suffix=suffix))
    assert made.colour.shape[2] == (1 if kept else 3)
    assert made.metadata.icc_profile == (greys if kept else None)
    assert made.metadata.exif is not None
    assert ("is one of greys, is left out" in caplog.text) == (not kept)
    # A grey picture may be described in colours, and then is in three channels too.
    described = replace(grey, metadata=Metadata(None, PROFILE))
    assert decode_image(encode_image(described, suffix=suffix)).metadata.icc_profile == PROFILE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_what_others_wrote_is_read(kind: str) -> None:
    written = Image.Exif()
    written[ORIENTATION] = 6
    written[305] = "camera"
    image, file = Image.fromarray(random_picture(8, 12).colour), io.BytesIO()
    image.save(file, kind, exif=written, icc_profile=PROFILE)
    picture = decode_image(file.getvalue())
    assert (picture.height, picture.width) == (12, 8)
    assert picture.metadata.icc_profile == PROFILE
    assert picture.metadata.exif is not None
    assert read_by_pillow(picture.metadata.exif)[ORIENTATION] == 1
    assert read_by_pillow(picture.metadata.exif)[305] == "camera"
    # Applied once: what is written again is not turned again.
    for suffix in KEEPING:
        again = decode_image(encode_image(picture, suffix=suffix))
        assert (again.height, again.width) == (12, 8)


@pytest.mark.parametrize("suffix", KEEPING)
def test_others_read_what_is_written(suffix: str) -> None:
    picture = random_picture(8, 12)
    picture = replace(picture, metadata=Metadata(camera_block(orientation=1), PROFILE))
    with Image.open(io.BytesIO(encode_image(picture, suffix=suffix))) as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif().get_ifd(EXIF)[33434] == 1 / 250


def test_png_chunks_are_where_the_standard_wants_them() -> None:
    picture = replace(random_picture(3, 3), metadata=Metadata(camera_block(), PROFILE))
    data, at, kinds = encode_image(picture), 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + length]
        check = struct.unpack_from(">I", data, at + 8 + length)[0]
        assert check == zlib.crc32(kind + content)
        kinds.append(kind)
        at += 12 + length
    assert kinds == [b"IHDR", b"iCCP", b"eXIf", b"IDAT", b"IDAT", b"IEND"]


def test_a_bmp_has_no_place_for_it() -> None:
    picture = replace(random_picture(3, 3), metadata=Metadata(camera_block(), PROFILE))
    assert decode_image(encode_image(picture, suffix=".bmp")).metadata == Metadata()


def test_markers_inside_of_the_exif_block_do_not_end_the_header() -> None:
    """A thumbnail is a JPEG of its own."""
    thumbnail = encode_image(random_picture(16, 16), suffix=".jpg")
    block = camera_block(orientation=1) + thumbnail
    picture = replace(random_picture(300, 20), metadata=Metadata(block))
    decoded = decode_image(encode_image(picture, suffix=".jpg"))
    assert decoded.height == 300
    assert decoded.metadata.exif == exif.with_size(block, 20, 300)


# What is refused before a byte is written


@pytest.mark.parametrize(
    ("layout", "suffix", "message"),
    [
        (Layout(65_536, 1, 3, False, 255), ".jpg", r"\.jpg cannot hold 1 x 65536 .* 65535 a side"),
        (Layout(1, 16_384, 3, False, 255), ".webp", r"\.webp cannot hold 16384 x 1 .* 16383"),
        (Layout(1, 1, 3, False, 255), ".gif", "cannot write .gif"),
        (Layout(1, 1, 3, True, 255), ".jpeg", "transparency: use .png, .tif or .webp"),
        (Layout(1, 1, 1, False, 65535), ".bmp", "16 bits: use .png or .tif"),
        (
            Layout(1, 1, 1, False, 255, Metadata(exif=bytes(65_528))),
            ".jpg",
            "EXIF block of 65528 bytes, at most 65527",
        ),
        (
            Layout(1, 1, 3, False, 255, Metadata(icc_profile=bytes(4 * 2**20 + 1))),
            ".png",
            r"at most 4194304 bytes, and this one has 4194305: use \.tif",
        ),
    ],
)
def test_refusals(layout: Layout, suffix: str, message: str) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidInput, match=message):
        open_writer(file, layout, suffix=suffix)
    assert file.getvalue() == b""


def test_the_longest_exif_that_a_jpeg_holds() -> None:
    block = camera_block(orientation=1).ljust(65_527, b"\0")
    picture = replace(random_picture(3, 3), metadata=Metadata(block))
    read = decode_image(encode_image(picture, suffix=".jpg")).metadata.exif
    assert read == exif.with_size(block, 3, 3)


@pytest.mark.parametrize("compressible", [True, False])
def test_the_longest_profile_that_a_png_is_written_with(compressible: bool) -> None:
    """Profiles of printers and of look-up tables are longer than the MiB that Pillow would read."""
    length = 4 * 2**20
    profile = bytes(length) if compressible else np.random.default_rng(0).bytes(length)
    picture = replace(random_picture(3, 3), metadata=Metadata(icc_profile=profile))
    assert decode_image(encode_image(picture)).metadata.icc_profile == profile


class Nowhere(io.RawIOBase):
    """Forgets what is written, and counts it."""

    def __init__(self) -> None:
        self.at = 0

    def write(self, data: object) -> int:
        self.at += len(data)  # type: ignore[arg-type]
        return len(data)  # type: ignore[arg-type]

    def seek(self, at: int, whence: int = 0) -> int:
        return 0

    def tell(self) -> int:
        return self.at


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_strips_are_not_kept(suffix: str) -> None:
    """48 megabytes of noise in strips of 1.5 MB; numpy reports its memory to tracemalloc."""
    strip = random_picture(128, 4000)
    layout = Layout(32 * 128, 4000, 3, False, 255)
    writer = open_writer(Nowhere(), layout, suffix=suffix)  # type: ignore[arg-type]
    tracemalloc.start()
    try:
        for _ in range(32):
            writer.write(strip)
        writer.close()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


def test_the_first_strip_alone_carries_metadata() -> None:
    picture = replace(random_picture(300, 9), metadata=Metadata(camera_block(), PROFILE))
    file = io.BytesIO()
    writer = JpegWriter(file, Layout.of(picture), quality=80)
    writer.write(picture)
    writer.close()
    assert file.getvalue().count(b"ICC_PROFILE\0") == 1
    assert file.getvalue().count(b"Exif\0\0") == 1
