from __future__ import annotations

import struct
import time

import pytest

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_costs import check_costs, check_exif

EXIF_DIRECTORY, BYTE, LONG = 34665, 1, 4


def entry(place: int, kind: int = LONG) -> bytes:
    """A field that points to another directory."""
    return struct.pack("<HHII", EXIF_DIRECTORY, kind, 1, place)


def block(entries: bytes) -> bytes:
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries) // 12)
    return head + entries + bytes(4)


def jpeg(exif: bytes) -> bytes:
    length = struct.pack(">H", 2 + 6 + len(exif))
    return b"\xff\xd8\xff\xe1" + length + b"Exif\0\0" + exif + b"\xff\xd9"


@pytest.mark.parametrize("kind", [LONG, BYTE])
def test_a_directory_that_points_to_itself_is_visited_once(kind: int) -> None:
    """12 KB, which would be a thousand million fields if each pointer were followed."""
    exif = block(entry(8, kind) * 999)
    start = time.perf_counter()
    check_exif(exif, "photo.jpg")
    check_costs(jpeg(exif), "photo.jpg")
    assert time.perf_counter() - start < 5  # else minutes


def test_directories_that_overlap_are_counted_together() -> None:
    """Each of 900 pointers leads to another place; every one of those is the count of a directory
    of 600 fields, which begins in the middle of a field of the others."""
    directories = b"".join(struct.pack("<H", 600) for _ in range(6000))
    first = 8 + 2 + 900 * 12 + 4
    pointers = b"".join(entry(first + 2 * number) for number in range(900))
    exif = block(pointers) + directories
    start = time.perf_counter()
    with pytest.raises(InvalidImage, match=r"photo\.jpg has fields that claim far more"):
        check_exif(exif, "photo.jpg")
    assert time.perf_counter() - start < 5  # else minutes


def test_of_several_indices_of_pictures_the_last_is_looked_at() -> None:
    """It is the one that decoders read; a thousand of them would take minutes."""
    index = block(b"".join(entry(8 + 12 * number) for number in range(700)))
    segment = b"\xff\xe2" + struct.pack(">H", 6 + len(index)) + b"MPF\0" + index
    start = time.perf_counter()
    check_costs(b"\xff\xd8" + segment * 300 + b"\xff\xd9", "photo.jpg")
    assert time.perf_counter() - start < 5  # else minutes
    greedy = block(struct.pack("<HHII", 1, BYTE, 2**31, 8) * 900)
    greedy += bytes(60_000 - len(greedy))
    segment += b"\xff\xe2" + struct.pack(">H", 6 + len(greedy)) + b"MPF\0" + greedy
    with pytest.raises(InvalidImage, match="fields that claim far more"):
        check_costs(b"\xff\xd8" + segment + b"\xff\xd9", "photo.jpg")
