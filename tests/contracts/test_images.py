from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from ranksrgan.contracts.errors import ImageTooLarge, InvalidImage, InvalidInput
from ranksrgan.contracts.images import (
    Picture,
    Pixels,
    as_float,
    decode_image,
    encode_image,
    from_tensor,
    list_images,
    read_image,
    stored_size,
    to_tensor,
    write_image,
)

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (7, 9, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 256, (7, 9), dtype=np.uint8)
DEEP_ALPHA = RNG.integers(0, 65536, (7, 9), dtype=np.uint16)

ORIENTATION = 274
# What a viewer does for each EXIF orientation, written with numpy's own turns.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.fliplr(np.rot90(a, -1)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.fliplr(np.rot90(a, 1)),
    8: lambda a: np.rot90(a, 1),
}


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def deep_cmyk() -> bytes:
    """A TIFF of 16-bit inks, which no library here writes."""
    height, width = 4, 5
    pixels = bytes(8 * height * width)
    short, long = 3, 4
    bits = 8 + 2 + 12 * 10 + 4  # behind the header and the ten entries
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, 4, bits),
        (259, short, 1, 1),
        (262, short, 1, 5),
        (273, long, 1, bits + 8),
        (277, short, 1, 4),
        (278, short, 1, height),
        (279, long, 1, len(pixels)),
        (284, short, 1, 1),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + directory + bytes(4) + struct.pack("<4H", 16, 16, 16, 16) + pixels


def signed8() -> bytes:
    """A grey TIFF of -1, 2, 3 and 4, which are not 255, 2, 3 and 4."""
    short, pixels_at = 3, 8 + 2 + 12 * 10 + 4
    entries = (
        (256, short, 1, 4),
        (257, short, 1, 1),
        (258, short, 1, 8),
        (259, short, 1, 1),
        (262, short, 1, 1),
        (273, short, 1, pixels_at),
        (277, short, 1, 1),
        (278, short, 1, 1),
        (279, short, 1, 4),
        (339, short, 1, 2),
    )
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + directory + bytes(4) + b"\xff\2\3\4"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, raw: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand: what Pillow cannot write, and what no writer would."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def png16(pixels: Pixels, extra: bytes = b"") -> bytes:
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    height, width = pixels.shape[:2]
    return png(width, height, 16, 2 if pixels.ndim == 3 else 0, raw, extra)


def equal(picture: Picture, colour: Pixels, alpha: Pixels | None = None) -> bool:
    return (
        picture.colour.dtype == colour.dtype
        and np.array_equal(picture.colour, colour)
        and (picture.alpha is None) == (alpha is None)
        and (
            alpha is None or (alpha.dtype == colour.dtype and np.array_equal(picture.alpha, alpha))
        )
    )


# Round trips


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_keep_eight_bits(suffix: str, channels: int) -> None:
    picture = Picture(RGB[..., :channels])
    assert equal(decode_image(encode_image(picture, suffix=suffix)), picture.colour)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_png_and_tiff_keep_everything(suffix: str) -> None:
    for colour, alpha in ((RGB, ALPHA), (DEEP, DEEP_ALPHA), (DEEP, None), (DEEP[..., :1], None)):
        decoded = decode_image(encode_image(Picture(colour, alpha), suffix=suffix))
        assert equal(decoded, colour, alpha)


@pytest.mark.parametrize(("colour", "alpha"), [(RGB, ALPHA), (DEEP, DEEP_ALPHA)])
def test_grey_with_alpha_stays_grey(colour: Pixels, alpha: Pixels) -> None:
    grey = colour[..., :1]
    assert equal(decode_image(encode_image(Picture(grey, alpha))), grey, alpha)


def test_grey_with_alpha_in_tiff_has_three_channels_where_readers_need_them() -> None:
    decoded = decode_image(encode_image(Picture(RGB[..., :1], ALPHA), suffix=".tif"))
    assert equal(decoded, RGB[..., :1], ALPHA)
    decoded = decode_image(encode_image(Picture(DEEP[..., :1], DEEP_ALPHA), suffix=".tif"))
    assert equal(decoded, DEEP[..., :1].repeat(3, axis=2), DEEP_ALPHA)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_come_close(suffix: str) -> None:
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[0:160:4, 40:200:4], 90), 2).astype(np.uint8)
    decoded = decode_image(encode_image(Picture(smooth), suffix=suffix, quality=95))
    assert np.abs(decoded.colour.astype(int) - smooth).max() <= 8
    large, small = (len(encode_image(Picture(RGB), suffix=suffix, quality=q)) for q in (95, 10))
    assert small < large


def test_webp_keeps_alpha() -> None:
    decoded = decode_image(encode_image(Picture(RGB, ALPHA), suffix=".webp"))
    assert np.array_equal(decoded.alpha, ALPHA)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "neu" / "Größe.png"
    write_image(path, Picture(RGB))
    picture = read_image(path)
    assert equal(picture, RGB)
    assert (picture.height, picture.width, picture.depth) == (7, 9, 255)
    assert decode_image(png16(DEEP)).depth == 65535


# What files hold


def test_values_of_other_writers() -> None:
    image = Image.fromarray(RGB)
    for kind in ("PNG", "TIFF", "BMP"):
        assert equal(decode_image(saved(image, kind)), RGB)
    assert equal(decode_image(saved(image, "WEBP", lossless=True)), RGB)
    assert equal(
        decode_image(saved(image.convert("L"), "PNG")), np.array(image.convert("L"))[..., None]
    )
    rgba = np.dstack([RGB, ALPHA])
    assert equal(decode_image(saved(Image.fromarray(rgba), "PNG")), RGB, ALPHA)
    grey_alpha = np.dstack([RGB[..., 0], ALPHA])
    decoded = decode_image(saved(Image.fromarray(grey_alpha, "LA"), "PNG"))
    assert equal(decoded, RGB[..., :1], ALPHA)


def test_sixteen_bits_are_not_narrowed() -> None:
    assert equal(decode_image(png16(DEEP)), DEEP)
    assert equal(decode_image(png16(DEEP[..., 0])), DEEP[..., :1])
    dark = np.full((3, 3, 3), 200, np.uint16)  # depth is a matter of type, not of values
    assert equal(decode_image(png16(dark)), dark)


def test_bits_and_palettes_are_expanded() -> None:
    bits = RGB[..., 0] > 127
    expected = np.where(bits, 255, 0).astype(np.uint8)[..., None]
    assert equal(decode_image(saved(Image.fromarray(bits), "PNG")), expected)
    few = RGB // 128 * 128
    palette = Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE)
    assert palette.mode == "P"
    assert equal(decode_image(saved(palette, "PNG")), few)
    index = int(np.array(palette)[2, 3])
    see_through = decode_image(saved(palette, "PNG", transparency=index))
    hidden = np.where(np.array(palette) == index, 0, 255).astype(np.uint8)
    assert see_through.alpha is not None
    assert np.array_equal(see_through.alpha, hidden)


def test_one_colour_that_stands_for_transparency() -> None:
    grey = RGB[..., 0]
    hidden = np.where(grey == grey[1, 1], 0, 255).astype(np.uint8)
    decoded = decode_image(saved(Image.fromarray(grey), "PNG", transparency=int(grey[1, 1])))
    assert equal(decoded, grey[..., None], hidden)
    key = tuple(int(v) for v in RGB[1, 1])
    hidden = np.where(np.equal(RGB, RGB[1, 1]).all(2), 0, 255).astype(np.uint8)
    assert equal(decode_image(saved(Image.fromarray(RGB), "PNG", transparency=key)), RGB, hidden)
    deep = DEEP[..., 0]
    decoded = decode_image(png16(deep, chunk(b"tRNS", struct.pack(">H", deep[1, 1]))))
    hidden16 = np.where(deep == deep[1, 1], 0, 65535).astype(np.uint16)
    assert equal(decoded, deep[..., None], hidden16)
    decoded = decode_image(png16(DEEP, chunk(b"tRNS", struct.pack(">HHH", *DEEP[1, 1]))))
    hidden16 = np.where(np.equal(DEEP, DEEP[1, 1]).all(2), 0, 65535).astype(np.uint16)
    assert equal(decoded, DEEP, hidden16)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_of_few_bits_that_stands_for_transparency(bits: int) -> None:
    """It is told in the file's own numbers: 1 of 3, or 5 of 15."""
    greys, top = 2**bits, 2**bits - 1
    values = np.arange(greys)
    raw = np.packbits((values[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)).tobytes()
    expected = (values * (255 // top)).astype(np.uint8)[None, :, None]
    for hidden in values:
        extra = chunk(b"tRNS", struct.pack(">H", hidden))
        alpha = np.where(values == hidden, 0, 255).astype(np.uint8)[None]
        assert equal(decode_image(png(greys, 1, bits, 0, b"\0" + raw, extra)), expected, alpha)


def test_a_picture_is_turned_whatever_else_its_block_says() -> None:
    """Pillow's own turning writes the block anew, and fails at a number that is a text."""
    fields = struct.pack("<HHIHxxHHI4s", ORIENTATION, 3, 1, 6, 282, 2, 4, b"300")
    block = struct.pack("<2sHIH", b"II", 42, 8, 2) + fields + bytes(4)
    picture = decode_image(saved(Image.fromarray(RGB), "PNG", exif=block))
    assert equal(picture, TURNS[6](RGB))


@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_stand_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turn = TURNS[orientation]
    for kind in ("PNG", "TIFF"):
        assert equal(decode_image(saved(Image.fromarray(RGB), kind, exif=exif)), turn(RGB))
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]))
    assert equal(decode_image(saved(rgba, "PNG", exif=exif)), turn(RGB), turn(ALPHA))
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[0:160:4, 40:160:4], 90), 2).astype(np.uint8)
    jpeg = decode_image(saved(Image.fromarray(smooth), "JPEG", quality=95, exif=exif))
    assert jpeg.colour.shape == turn(smooth).shape
    assert np.abs(jpeg.colour.astype(int) - turn(smooth)).max() <= 8
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    assert equal(decode_image(png16(DEEP, chunk(b"eXIf", block))), turn(DEEP))
    assert equal(decode_image(tiff16(DEEP, orientation)), turn(DEEP))


def test_exif_in_a_text_of_a_png_comes_along() -> None:
    """ImageMagick and exiftool write it so; its orientation is applied, and then reads 1."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[271] = 6, "camera"
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    info = PngImagePlugin.PngInfo()
    text = f"\nexif\n{len(block):8d}\n{block[:36].hex()}\n{block[36:].hex()}\n"
    info.add_text("Raw profile type exif", text, zip=True)
    picture = decode_image(saved(Image.fromarray(RGB), "PNG", pnginfo=info))
    assert equal(picture, TURNS[6](RGB))
    again = Image.Exif()
    again.load(picture.metadata.exif or b"")
    assert dict(again) == {ORIENTATION: 1, 271: "camera"}


def test_premultiplied_colour_of_sixteen_bits_is_divided_by_its_alpha() -> None:
    """As Pillow does at 8 bits; a file of pure red at half opacity is red, not dark red."""
    stored = np.array([[[32767, 0, 0, 32767], [65535, 9, 0, 65535], [500, 9, 0, 0]]], np.uint16)
    picture = decode_image(tiff16(stored, 1, extra=1))
    assert picture.colour.tolist() == [[[65535, 0, 0], [65535, 9, 0], [0, 0, 0]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[32767, 65535, 0]]
    again = decode_image(encode_image(picture, suffix=".tif"))  # written as straight alpha
    assert equal(again, picture.colour, picture.alpha)
    alpha = RNG.integers(1, 65536, (40, 30), dtype=np.uint16)
    straight = RNG.integers(0, 65536, (40, 30, 3), dtype=np.uint16)
    product = np.round(straight * (alpha / 65535)[..., None]).astype(np.uint16)
    picture = decode_image(tiff16(np.dstack([product, alpha]), 1, extra=1))
    expected = np.floor(product / (alpha / 65535)[..., None] + 0.5).clip(0, 65535)
    assert np.abs(picture.colour - expected).max() <= 1
    # Colour beyond its alpha, which nothing can have made, is white at most.
    beyond = decode_image(tiff16(np.full((1, 1, 4), [65535, 9, 0, 9], np.uint16), 1, extra=1))
    assert beyond.colour.tolist() == [[[65535, 65535, 0]]]


def test_premultiplied_grey_of_eight_bits_is_divided_by_its_alpha() -> None:
    stored = np.array([[[64, 128], [128, 128], [0, 0], [200, 100], [255, 255]]], np.uint8)
    picture = decode_image(tiff16(stored, 1, extra=1, photometric=1))
    assert picture.colour.tolist() == [[[127], [255], [0], [255], [255]]]
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[128, 128, 0, 100, 255]]
    turned = decode_image(tiff16(stored, 6, extra=1, photometric=1))
    assert turned.colour.tolist() == [[[127]], [[255]], [[0]], [[255]], [[255]]]
    assert equal(
        decode_image(tiff16(stored, 1, extra=2, photometric=1)), stored[..., :1], stored[..., 1]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_channel_that_is_no_alpha_hides_nothing(dtype: type) -> None:
    stored = np.dstack([DEEP, DEEP_ALPHA]).astype(dtype)
    assert equal(decode_image(tiff16(stored, 1, extra=0)), stored[..., :3])


def test_white_of_twelve_bits_is_white() -> None:
    stored = np.array([[[0], [1], [137], [2048], [4094], [4095]]], np.uint16)
    expected = np.round(stored * (65535 / 4095)).astype(np.uint16)
    assert equal(decode_image(tiff16(stored, 1, photometric=1, bits=12)), expected)


@pytest.mark.parametrize(
    ("dtype", "why"),
    [(np.uint8, "5 channels.*: save it without the others"), (np.uint16, "not read")],
)
def test_a_fifth_channel_is_not_lost_without_a_word(dtype: type, why: str) -> None:
    stored = np.dstack([DEEP, DEEP_ALPHA, DEEP_ALPHA]).astype(dtype)
    for extra in (0, 2):
        with pytest.raises(InvalidImage, match=why):
            decode_image(tiff16(stored, 1, extra=extra))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_of_which_0_is_white_is_no_negative(dtype: type) -> None:
    top = np.iinfo(dtype).max
    stored = np.array([[[0], [10], [top]]], dtype)
    assert equal(decode_image(tiff16(stored, 1, photometric=1)), stored)
    assert equal(decode_image(tiff16(stored, 1, photometric=0)), top - stored)


def tiff16(
    pixels: Pixels,
    orientation: int,
    *,
    extra: int | None = None,
    photometric: int = 2,
    bits: int | None = None,
) -> bytes:
    """A little-endian TIFF of one strip, whose word about further channels is ``extra``.

    Args:
        bits: of a sample, of those in ``pixels``; they are packed.
    """
    bits = 8 * pixels.itemsize if bits is None else bits
    height, width, channels = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    if bits == 12:
        digits = "".join(f"{value:03x}" for row in pixels for value in row.flatten())
        data = bytes.fromhex(digits)
    short, long = 3, 4
    bits_at = 8 + len(data)
    folder_at = bits_at + 2 * channels
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        # One or two stand in the place itself.
        (258, short, channels, bits_at if channels > 2 else bits * 0x10001),
        (259, short, 1, 1),
        (262, short, 1, photometric),
        (273, long, 1, 8),
        (ORIENTATION, short, 1, orientation),
        (277, short, 1, channels),
        (278, short, 1, height),
        (279, long, 1, len(data)),
    ]
    if extra is not None:
        further = max(channels - 3, 1)
        entries.append((338, short, further, extra))
    folder = struct.pack("<H", len(entries))
    folder += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    widths = struct.pack("<H", bits) * channels
    return struct.pack("<2sHI", b"II", 42, folder_at) + data + widths + folder


# What is refused


def spoilt(png: bytes) -> bytes:
    """With other bytes where those of the pixels begin."""
    begin = png.index(b"IDAT") + 4
    return png[:begin] + b"xxxx" + png[begin + 4 :]


INCOMPLETE = r"photo\.png is damaged: the file is incomplete and ends before its picture does$"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"photo\.png is empty \(0 bytes\)"),
        (b"I am a text", r"photo\.png is not a PNG, JPEG, WebP, TIFF or BMP image"),
        (b"GIF89a" + bytes(40), "is not a PNG"),
        (saved(Image.fromarray(RGB), "PNG")[:-30], INCOMPLETE),
        (saved(Image.fromarray(RGB), "JPEG")[:-60], INCOMPLETE),
        (saved(Image.fromarray(RGB), "JPEG")[:30], INCOMPLETE),
        (saved(Image.fromarray(RGB), "WEBP")[:-20], INCOMPLETE),
        (saved(Image.fromarray(RGB), "BMP")[:-20], INCOMPLETE),
        (png16(DEEP)[:200], INCOMPLETE),
        (spoilt(saved(Image.fromarray(RGB), "PNG")), r"photo\.png is damaged: broken data stream"),
        (png(9, 7, 16, 2, bytes(1 + 9 * 6)), r"is damaged: its pixels cannot be decoded"),
        (signed8(), "has signed numbers; convert it to 8 or 16 bits without a sign"),
        (
            saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
            r"is CMYK: .* convert it to RGB first",
        ),
        (
            saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"),
            r"is CMYK: .* convert it to RGB first",
        ),
        (deep_cmyk(), r"is CMYK: .* convert it to RGB first"),
        (saved(Image.fromarray(RGB).convert("LAB"), "TIFF"), "pixels of kind LAB"),
        (saved(Image.fromarray(DEEP[..., 0].astype(np.float32)), "TIFF"), "neither 8 nor 16 bits"),
        (saved(Image.fromarray(DEEP[..., 0].astype(np.int32)), "TIFF"), "neither 8 nor 16 bits"),
    ],
)
def test_what_is_no_picture_for_us(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message) as refused:
        decode_image(data, name="photo.png")
    assert refused.value.field == "photo.png"
    (tmp_path / "photo.png").write_bytes(data)
    with pytest.raises(InvalidImage, match=message):
        read_image(tmp_path / "photo.png")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match=r"gone\.png: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(InvalidImage, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("side", [8_193, 10_000, 12_000, 40_000, 2**31 - 1])
def test_bombs_are_refused_by_their_header(side: int) -> None:
    """8,193 is just above the limit, and from 9,500 on Pillow has opinions of its own."""
    bomb = png(side, side, 8, 2, bytes(1000))
    start = time.perf_counter()
    with pytest.raises(ImageTooLarge, match=r"bomb.*67108864"):
        decode_image(bomb, name="bomb")
    assert time.perf_counter() - start < 0.5


def test_the_limit_is_of_pixels() -> None:
    data = encode_image(Picture(RGB))
    assert decode_image(data, max_pixels=63).width == 9
    with pytest.raises(ImageTooLarge, match="9 x 7 pixels; at most 62"):
        decode_image(data, max_pixels=62)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_limit_above_pillow_s_own_holds(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of a picture, Pillow's is of a process: 178,956,970 pixels and no more."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # refuses over 40, and warns over 20
    data = encode_image(Picture(RGB), suffix=suffix)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert equal(decode_image(data, max_pixels=63), RGB)
        with pytest.raises(ImageTooLarge, match="9 x 7 pixels; at most 62"):
            decode_image(data, max_pixels=62)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        with pytest.raises(ImageTooLarge, match="far more than the 12 pixels"):
            decode_image(data, max_pixels=12)


@pytest.mark.parametrize(("height", "width"), [(1, 1_048_577), (1_048_577, 1)])
def test_longer_sides_than_opencv_reads(height: int, width: int) -> None:
    deep = np.zeros((height, width, 1), np.uint16)
    for data in (png16(deep[..., 0]), encode_image(Picture(deep), suffix=".tif")):
        with pytest.raises(ImageTooLarge, match=f"{width} x {height} pixels; of 16 bits at most"):
            decode_image(data)


@pytest.mark.filterwarnings("ignore")  # Pillow wonders aloud about what it reads
def test_flipped_bytes_never_surprise() -> None:
    """Random damage is InvalidImage, ImageTooLarge or a picture, whatever the format."""
    seeds = [
        encode_image(Picture(RGB), suffix=s) for s in (".png", ".jpg", ".webp", ".tif", ".bmp")
    ]
    seeds += [png16(DEEP), tiff16(DEEP, 1), saved(Image.fromarray(RGB).convert("P"), "PNG")]
    dice = random.Random(0)
    refused = 0
    for i in range(800):
        data = bytearray(seeds[i % len(seeds)])
        for _ in range(dice.choice((1, 1, 3, 9))):
            data[dice.randrange(min(len(data), 150))] = dice.randrange(256)
        if i % 4 == 0:
            del data[dice.randrange(len(data)) :]
        try:
            decode_image(bytes(data))
        except (InvalidImage, ImageTooLarge):
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("picture", "suffix", "message"),
    [
        (Picture(RGB), ".gif", "cannot write .gif"),
        (Picture(RGB), "", "a file without suffix"),
        (Picture(DEEP), ".jpg", "cannot hold 16 bits"),
        (Picture(DEEP), ".webp", "cannot hold 16 bits"),
        (Picture(DEEP), ".bmp", "cannot hold 16 bits"),
        (Picture(RGB, ALPHA), ".jpg", "cannot hold transparency"),
        (Picture(RGB, ALPHA), ".bmp", "cannot hold transparency"),
    ],
)
def test_formats_that_cannot_hold_a_picture(picture: Picture, suffix: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        encode_image(picture, suffix=suffix)


def test_a_refused_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    with pytest.raises(InvalidInput):
        write_image(path, Picture(DEEP))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


# Folders


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "ü.webp", "c.tiff", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.png").touch()
    assert [p.name for p in list_images(tmp_path)] == ["a.JPG", "b.png", "c.tiff", "ü.webp"]
    with pytest.raises(InvalidInput, match="is not a folder"):
        list_images(tmp_path / "b.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no image"):
        list_images(tmp_path / "empty")


def test_a_folder_with_the_name_of_an_image_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.png"]


# Tensors


def test_tensors_of_pictures() -> None:
    eight = to_tensor(Picture(RGB))
    assert eight.dtype == torch.uint8
    assert torch.equal(eight, torch.from_numpy(RGB.transpose(2, 0, 1)[None].copy()))
    sixteen = to_tensor(Picture(DEEP[..., :1]))
    assert sixteen.dtype == torch.float64
    assert sixteen.shape == (1, 1, 7, 9)
    assert np.array_equal(sixteen[0, 0].numpy(), DEEP[..., 0] / 65535)
    for picture in (Picture(RGB), Picture(RGB[..., :1]), Picture(DEEP)):
        tensor = to_tensor(picture)
        assert equal(from_tensor(tensor[0], depth=picture.depth), picture.colour)
        if picture.depth == 255 or tensor.is_floating_point():
            floats = as_float(tensor)
            assert floats.dtype == torch.float32
            assert floats.shape == (1, 3, 7, 9)
            back = from_tensor(floats[0, : picture.colour.shape[2]], depth=picture.depth)
            assert equal(back, picture.colour)


def test_a_size_is_read_from_the_header_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "whole.png", Picture(RGB))
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "begun.png").write_bytes(data[:60])
    assert stored_size(tmp_path / "whole.png") == stored_size(tmp_path / "begun.png") == (7, 9)
    with pytest.raises(InvalidImage, match=r"begun\.png is damaged"):
        read_image(tmp_path / "begun.png")
    (tmp_path / "none.png").write_bytes(b"no image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    wrong = {"none": "is not a PNG", "empty": "is empty", "folder": "Is a", "gone": "No such file"}
    for name, message in wrong.items():
        with pytest.raises(InvalidImage, match=rf"{name}\.png:? {message}"):
            stored_size(tmp_path / f"{name}.png")


def test_a_size_takes_no_more_memory_than_its_header(tmp_path: Path) -> None:
    write_image(tmp_path / "long.png", Picture(RGB))
    with (tmp_path / "long.png").open("ab") as file:
        file.truncate(2**28)
    tracemalloc.start()
    try:
        assert stored_size(tmp_path / "long.png") == (7, 9)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_as_float_repeats_grey() -> None:
    grey = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    expected = torch.tensor([[0.0, 0.2], [0.4, 1.0]]).expand(1, 3, 2, 2)
    torch.testing.assert_close(as_float(grey), expected, rtol=0, atol=1e-7)


def test_from_tensor_clamps_and_rounds() -> None:
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0, 7.0])
    image = values.reshape(1, 1, 7).expand(3, -1, -1)
    assert from_tensor(image).colour[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]
    deep = from_tensor(image, depth=65535).colour[0, :, 0]
    assert deep.tolist() == [0, 0, 103, 154, 65432, 65535, 65535]
