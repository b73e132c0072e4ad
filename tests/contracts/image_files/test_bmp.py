from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image as PillowImage

from ranksrgan.contracts.errors import ImageTooLarge, InvalidImage
from ranksrgan.contracts.images import decode_image

PLAIN, RLE8, RLE4 = 0, 1, 2
GREYS = [(grey, grey, grey) for grey in range(256)]
COLOURS = [(index, 255 - index, 7 * index % 256) for index in range(256)]
NEXT_ROW, END = b"\0\0", b"\0\1"


def bmp(
    width: int,
    height: int,
    runs: bytes,
    kind: int,
    palette: list[tuple[int, int, int]],
    *,
    bits: int = 8,
) -> bytes:
    bits, dots = (4 if kind == RLE4 else bits), 3780  # by the metre
    palette = palette[: 2**bits]
    stored = b"".join(struct.pack("BBBB", *colour[::-1], 0) for colour in palette)
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(runs), dots, dots, len(palette), 0
    )
    start = 14 + len(info) + len(stored)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + stored + runs


# Of 5 x 3 pixels, from the bottom up: a run and three pixels that are told, with a byte to fill up;
# a run with nothing behind it; a step of one to the right, and a run.
RUNS_8 = b"\2\4\0\3\1\2\3\0" + NEXT_ROW + b"\2\7" + NEXT_ROW + b"\0\2\1\0\4\x0b" + END
RUNS_4 = b"\2\x44\0\3\x12\x30" + NEXT_ROW + b"\2\x77" + NEXT_ROW + b"\0\2\1\0\4\xbb" + END
INDICES = np.array([[0, 11, 11, 11, 11], [7, 7, 0, 0, 0], [4, 4, 1, 2, 3]])


@pytest.mark.parametrize(("kind", "runs"), [(RLE8, RUNS_8), (RLE4, RUNS_4)])
def test_runs_steps_and_pixels_that_are_told(kind: int, runs: bytes) -> None:
    picture = decode_image(bmp(5, 3, runs, kind, COLOURS))
    assert np.array_equal(picture.colour, np.array(COLOURS)[INDICES])
    assert picture.metadata.resolution is not None
    assert picture.metadata.resolution.x == picture.metadata.resolution.y == 3780


def test_greys_of_a_palette_are_one_channel_if_they_are_their_own_numbers() -> None:
    picture = decode_image(bmp(5, 3, RUNS_8, RLE8, GREYS))
    assert np.array_equal(picture.colour, INDICES[..., None])
    turned = decode_image(bmp(5, 3, RUNS_8, RLE8, GREYS[::-1]))
    assert np.array_equal(turned.colour, np.repeat(255 - INDICES[..., None], 3, axis=2))


def test_black_and_white_are_one_channel_as_without_runs() -> None:
    """Pillow's name of it is another than that of 256 greys."""
    runs = b"\4\1" + NEXT_ROW + b"\2\0\2\1" + END
    picture = decode_image(bmp(4, 2, runs, RLE8, [(0, 0, 0), (255, 255, 255)]))
    assert np.array_equal(picture.colour[..., 0], [[0, 0, 255, 255], [255] * 4])
    plain = io.BytesIO()
    PillowImage.fromarray(picture.colour[..., 0] > 0).save(plain, "BMP")
    assert np.array_equal(decode_image(plain.getvalue()).colour, picture.colour)


@pytest.mark.parametrize(
    ("bits", "rows", "palette", "greys"),
    [
        (8, b"\1\0\1\1\0\1\1\0", GREYS[::255], [[0, 255, 255, 0], [255, 0, 255, 255]]),
        (4, b"\x10\x11\0\0\x01\x10\0\0", GREYS[::255], [[0, 255, 255, 0], [255, 0, 255, 255]]),
        (4, b"\x1f\x80\0\0\x72\x34\0\0", GREYS, [[7, 2, 3, 4], [1, 15, 8, 0]]),
        (8, b"\x1f\x80\0\2\x72\x34\0\1", GREYS, [[114, 52, 0, 1], [31, 128, 0, 2]]),
        (1, b"\xb0\0\0\0\x60\0\0\0", GREYS[::255], [[0, 255, 255, 0], [255, 0, 255, 255]]),
    ],
)
def test_greys_of_fewer_colours_than_bits(
    bits: int, rows: bytes, palette: list[tuple[int, int, int]], greys: list[list[int]]
) -> None:
    """Pillow reads the first three as if they had 1 or 8 bits."""
    picture = decode_image(bmp(4, 2, rows, PLAIN, palette, bits=bits))
    assert picture.colour[..., 0].tolist() == greys
    assert picture.colour.shape == (2, 4, 1)


def test_greys_of_the_shortest_header() -> None:
    stored = b"".join(bytes(grey) for grey in GREYS[:16])
    head = struct.pack("<IHHHH", 12, 4, 1, 1, 4)
    start = 14 + len(head) + len(stored)
    data = b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + head + stored + b"\x1f\x80\0\0"
    assert decode_image(data).colour[..., 0].tolist() == [[1, 15, 8, 0]]


def test_what_no_run_tells_costs_no_more_than_its_pixels() -> None:
    """Pillow puts pixel to pixel in Python, for four seconds."""
    start = time.thread_time()
    picture = decode_image(bmp(4096, 4096, (b"\1\5" + NEXT_ROW) * 4096 + END, RLE8, GREYS))
    assert picture.colour[:, 0].min() == 5
    assert picture.colour[:, 1:].max() == 0
    with pytest.raises(InvalidImage):  # a million steps that lead nowhere
        decode_image(bmp(64, 64, b"\0\2\0\0" * 2**20, RLE8, GREYS))
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("runs", [b"\6\1" + END, RUNS_8[:-6], b""])
def test_runs_that_leave_the_picture_or_are_missing_are_damage(runs: bytes) -> None:
    with pytest.raises(InvalidImage, match=r"scan\.bmp is damaged: its pixels, of runs"):
        decode_image(bmp(5, 3, runs, RLE8, COLOURS), name="scan.bmp")


def test_longer_sides_than_opencv_reads() -> None:
    with pytest.raises(
        ImageTooLarge, match="1048577 x 1 pixels; of runs or a palette at most 1000000 a side"
    ):
        decode_image(bmp(2**20 + 1, 1, END, RLE8, COLOURS))
