from __future__ import annotations

import struct
import zlib

import numpy as np

from ranksrgan.contracts.image_files.png_chunks import chunks, pixels_alone
from ranksrgan.contracts.images import decode_image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
ROW = struct.pack(">B6H", 0, 1, 2, 3, 1000, 30_000, 65_535)
DATA, END = chunk(b"IDAT", zlib.compress(ROW)), chunk(b"IEND", b"")
GAMMA = chunk(b"gAMA", struct.pack(">I", 20_000))
FIRST, SECOND = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3)), chunk(b"tRNS", bytes(6))


def test_chunks_of_a_whole_file_and_of_one_that_is_cut() -> None:
    found = list(chunks(SIGNATURE + HEADER + GAMMA + END))
    assert [kind for kind, _, _ in found] == [b"IHDR", b"gAMA", b"IEND"]
    assert found[1].content == struct.pack(">I", 20_000)
    assert found[1].whole == GAMMA
    cut = list(chunks(SIGNATURE + HEADER + GAMMA[:-6]))
    assert cut[1].content == GAMMA[8:-6]
    assert cut[1].whole == GAMMA[:-6]
    assert list(chunks(SIGNATURE[:3])) == []


def test_pixels_need_their_colour_of_transparency_and_nothing_else() -> None:
    given = SIGNATURE + HEADER + GAMMA + FIRST + SECOND + GAMMA + DATA + SECOND + GAMMA + END
    alone = pixels_alone(given)
    assert alone == SIGNATURE + HEADER + FIRST + DATA + END
    for data in (given, alone):
        picture = decode_image(data)
        assert np.array_equal(picture.colour, [[[1, 2, 3], [1000, 30_000, 65_535]]])
        assert picture.alpha is not None
        assert picture.alpha.tolist() == [[0, 65_535]]


def test_what_is_missing_at_the_end_stays_missing() -> None:
    for end in (-4, -len(END), -len(END) - 3):
        assert pixels_alone((SIGNATURE + HEADER + DATA + END)[:end]) == (
            SIGNATURE + (HEADER + DATA + END)[:end]
        )
