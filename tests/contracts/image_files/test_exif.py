from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.exif import LONG, RATIONAL, SHORT, Field
from tests.contracts.camera import (
    EXIF,
    GPS,
    INTEROPERABILITY,
    MAKE,
    MAKER_NOTE,
    ORIENTATION,
    PIXEL_HEIGHT,
    PIXEL_WIDTH,
    camera_block,
    read_by_pillow,
)

SOFTWARE = 305


def changed_bytes(before: bytes, after: bytes) -> list[int]:
    assert len(before) == len(after)
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]


def thumbnail_of(block: bytes) -> int:
    """Where a block of four fields says that the directory of its thumbnail is."""
    return int(struct.unpack_from(f"{exif.byte_order(block)}I", block, 8 + 2 + 12 * 4)[0])


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_is_written_is_what_others_read(order: str) -> None:
    read = read_by_pillow(camera_block(order))
    assert read[ORIENTATION] == 6
    inner = read.get_ifd(EXIF)
    assert inner[33434] == 1 / 250
    assert (inner[PIXEL_WIDTH], inner[PIXEL_HEIGHT]) == (12, 8)
    assert read.get_ifd(GPS)[29] == "2026:01:02"


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_applied_orientation_changes_two_places(order: str) -> None:
    block = camera_block(order)
    upright = exif.upright(block)
    assert read_by_pillow(upright)[ORIENTATION] == 1
    assert thumbnail_of(block) > 0
    assert thumbnail_of(upright) == 0  # it lay as the pixels did
    assert len(changed_bytes(block, upright)) <= 1 + 4
    assert exif.upright(upright) == upright


def test_a_block_of_an_upright_picture_is_not_touched() -> None:
    block = camera_block(orientation=1)
    assert exif.upright(block) == block
    assert thumbnail_of(block) > 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("size", [(48, 32), (100_000, 70_000)])
def test_the_size_becomes_that_of_the_picture(
    order: str, wide: bool, size: tuple[int, int]
) -> None:
    block = camera_block(order, wide=wide)
    resized = exif.with_size(block, *size)
    inner = read_by_pillow(resized).get_ifd(EXIF)
    assert (inner[PIXEL_WIDTH], inner[PIXEL_HEIGHT]) == size
    assert inner[MAKER_NOTE] == bytes(range(256))
    assert len(changed_bytes(block, resized)) <= 2 * 6


def test_a_block_without_size_gets_none() -> None:
    fields = [Field(MAKE, 2, b"x\0")]
    block = b"II*\0\x08\0\0\0" + exif.to_bytes(fields, "<", at=8)
    assert exif.with_size(block, 1, 2) == block


@pytest.mark.parametrize("order", ["<", ">"])
def test_further_fields_move_nothing_but_the_first_directory(order: str) -> None:
    block = camera_block(order)
    changed = block
    for dots in (72, 300):
        across = Field(282, RATIONAL, struct.pack("<II", dots, 1))
        unit = Field(296, SHORT, struct.pack("<H", 2))
        changed = exif.with_fields(changed, [unit, across])
        assert changed[8 : len(block)] == block[8:]
        read = read_by_pillow(changed)
        assert [(tag, read[tag]) for tag in (282, 296, MAKE)] == [
            (282, dots),
            (296, 2),
            (MAKE, read_by_pillow(block)[MAKE]),
        ]
        assert [f.tag for f in exif.read_fields(changed)] == [
            MAKE,
            ORIENTATION,
            282,
            296,
            EXIF,
            GPS,
        ]
        assert read.get_ifd(EXIF)[MAKER_NOTE] == bytes(range(256))
        assert read.get_ifd(ExifTags.IFD.IFD1)[259] == 6  # of the thumbnail
    assert exif.with_fields(b"no block", [across]) == b"no block"


@pytest.mark.parametrize("order", ["<", ">"])
def test_describing_fields_cross_tiff_and_back(order: str) -> None:
    inside = exif.read_fields(camera_block(order))
    pixels = [Field(256, LONG, struct.pack(f"{order}I", 3)), Field(700, 1, b"<xmp/>")]
    expected = values(exif.read_fields(camera_block("<")))
    assert values(exif.describing(camera_block(order))) == expected
    for big, version in ((False, 42), (True, 43)):
        mark = {"<": b"II", ">": b"MM"}[order]
        header = struct.pack(f"{order}2sH", mark, version)
        header += struct.pack(f"{order}HHQ", 8, 0, 16) if big else struct.pack(f"{order}I", 8)
        file = header + exif.to_bytes([*inside, *pixels], order, len(header), big=big)
        again = exif.from_tiff(file)
        assert again is not None
        assert values(exif.read_fields(again)) == expected
    assert exif.from_tiff(header + exif.to_bytes(pixels, order, len(header), big=True)) is None


def values(fields: list[Field] | tuple[Field, ...]) -> list[object]:
    return [(f.tag, values(f.fields) if f.fields else (f.kind, f.values)) for f in fields]


def test_pillow_writes_what_is_read_here() -> None:
    written = read_by_pillow(camera_block())
    written[SOFTWARE] = "Pillow"
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "TIFF", exif=written)
    block = exif.from_tiff(file.getvalue())
    assert block is not None
    assert read_by_pillow(block)[SOFTWARE] == "Pillow"
    assert read_by_pillow(exif.with_size(block, 99, 98)).get_ifd(EXIF)[PIXEL_WIDTH] == 99


@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 1))
def test_damage_is_survived(noise: bytes, at: int, orders: int) -> None:
    block = bytearray(camera_block("<>"[orders]))
    block[at : at + len(noise)] = noise
    unit = Field(296, SHORT, struct.pack("<H", 2))
    for damaged in (bytes(block), bytes(block[:at]), noise, b"II*\0" + noise, b"MM\0+" + noise):
        assert len(exif.upright(damaged)) == len(damaged)
        assert len(exif.with_size(damaged, 70_000, 3)) == len(damaged)
        assert len(exif.with_fields(damaged, [unit])) >= len(damaged)
        exif.from_tiff(damaged)


def test_a_directory_that_holds_itself_ends() -> None:
    block = bytearray(b"II*\0\x08\0\0\0" + struct.pack("<H", 3))
    for tag in (EXIF, GPS, INTEROPERABILITY):
        block += struct.pack("<HHII", tag, LONG, 1, 8)
    assert exif.read_fields(bytes(block) + bytes(4)) == []
