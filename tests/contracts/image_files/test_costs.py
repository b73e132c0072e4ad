from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import pytest

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files.costs import check_costs, check_exif
from ranksrgan.contracts.images import decode_image

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


@pytest.mark.parametrize("alone", [b"\xff\xd9", b"\xff\xf0", b"\xff\xc8", b"\xff\x01", b"\0\xff\0"])
def test_what_pillow_goes_on_behind(alone: bytes) -> None:
    """An end before any scan, as behind tables; markers that have no length; and padding."""
    segment = jpeg(block(bytes(12)))[2:-2]
    check_costs(b"\xff\xd8" + (alone + segment) * 100, "photo.jpg")
    with pytest.raises(InvalidImage, match=r"photo\.jpg has over 100 EXIF segments"):
        check_costs(b"\xff\xd8" + (alone + segment) * 101, "photo.jpg")


def test_padding_of_a_jpeg_is_looked_through_once_and_bounded() -> None:
    start = time.perf_counter()
    padding = b"\xff" * 200_000 + bytes(62_000)
    segment = jpeg(block(bytes(12)))[2:]
    check_costs(b"\xff\xd8" + padding + segment, "photo.jpg")
    for far in (padding + segment + bytes(200), padding + bytes(200), padding + segment + padding):
        with pytest.raises(InvalidImage, match="over 262144 bytes between its segments"):
            check_costs(b"\xff\xd8" + far, "photo.jpg")
    scan = b"\xff\xda\0\2"
    check_costs(b"\xff\xd8" + scan + padding * 2, "photo.jpg")  # which libjpeg reads at once
    assert time.perf_counter() - start < 5  # else minutes


def test_no_index_of_pictures_behind_the_scan_hides_the_one_before() -> None:
    greedy = block(struct.pack("<HHII", 1, BYTE, 2**31, 8) * 900).ljust(60_000, b"\0")
    before, behind = (
        b"\xff\xe2" + struct.pack(">H", 6 + len(index)) + b"MPF\0" + index
        for index in (greedy, block(b""))
    )
    with pytest.raises(InvalidImage, match="fields that claim far more"):
        check_costs(b"\xff\xd8" + before + b"\xff\xda\0\2" + behind, "photo.jpg")


@pytest.mark.parametrize("mark", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_what_ends_before_its_first_directory(mark: bytes) -> None:
    for length in range(20):
        with pytest.raises(InvalidImage, match="photo is"):
            decode_image(mark + bytes(length), name="photo")


def tiff_of_strips(places: list[int], lengths: list[int], width: int = 1) -> bytes:
    """The directory of one whose height is the number of strips, and where they are."""
    number = len(places)
    at = 8 + 2 + 4 * 12 + 4
    entries = [(256, LONG, 1, width), (257, LONG, 1, number)]
    entries += [(273, LONG, number, at), (279, LONG, number, at + 4 * number)]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return block(packed) + struct.pack(f"<{2 * number}I", *places, *lengths)


def test_strips_may_not_claim_the_same_bytes_over_and_over() -> None:
    """libtiff copies what each of them claims; a file of 1.5 MB took half a minute."""
    overlapping = tiff_of_strips([2**20] * 20, [2**20] * 20).ljust(2**21, b"\0")
    check_costs(overlapping, "scan.tif")  # as much as 16 MiB and the file twice, without pixels
    overlapping = tiff_of_strips([2**20] * 21, [2**20] * 21).ljust(2**21, b"\0")
    with pytest.raises(InvalidImage, match=r"scan\.tif has strips or tiles that overlap"):
        check_costs(overlapping, "scan.tif")
    wide = tiff_of_strips([2**20] * 21, [2**20] * 21, width=2**20 // 8).ljust(2**21, b"\0")
    check_costs(wide, "scan.tif")  # since its pixels take as much
    # What they claim beyond the end is nothing, as in the beginning of a large file.
    step = 2**20
    whole = tiff_of_strips([step * number for number in range(300)], [step] * 300)
    assert 16 * 2**20 + 2**17 < 300 * 2**16
    check_costs(whole.ljust(2**16, b"\0"), "scan.tif")
    check_costs(tiff_of_strips([2**32 - 1] * 999, [2**32 - 1] * 999), "scan.tif")


def test_more_lengths_than_strips_are_not_read() -> None:
    """Of 48 MiB of them, a byte each, 768 MiB were made to look at those of eight strips."""
    number = 2**24
    entries = [(256, LONG, 1, 8), (257, LONG, 1, 8), (273, LONG, 8, 8), (279, BYTE, number, 100)]
    scan = block(b"".join(struct.pack("<HHII", *entry) for entry in entries))
    scan = scan.ljust(number + 100, b"\xff")
    tracemalloc.start()
    try:
        check_costs(scan, "scan.tif")
        assert tracemalloc.get_traced_memory()[1] < 2**20  # else 256 MiB
    finally:
        tracemalloc.stop()


def test_tiles_may_not_be_far_larger_than_their_picture() -> None:
    """A file of 35 KB, one pixel wide, took half a minute."""

    def tiled(width: int, height: int, across: int, down: int) -> bytes:
        sizes = ((256, width), (257, height), (322, across), (323, down))
        entries = b"".join(struct.pack("<HHII", tag, LONG, 1, size) for tag, size in sizes)
        return block(entries)

    for usual in ((1, 1, 512, 512), (100_000, 100, 512, 512), (65_000, 1, 256, 256)):
        check_costs(tiled(*usual), "scan.tif")
    for bomb in ((1, 65_000, 2048, 16), (1, 65_000, 65_520, 16)):
        with pytest.raises(InvalidImage, match=r"scan\.tif has tiles of \d+ pixels together"):
            check_costs(tiled(*bomb), "scan.tif")


@pytest.mark.parametrize("kind", [1, 3, 4, 6, 8, 9])
def test_what_stands_behind_a_small_number_makes_no_picture_larger(kind: int) -> None:
    """Decoders pass over the rest of its place."""
    letter = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}[kind]
    for big, form in ((False, "<HHI"), (True, "<HHQ")):
        size = 20 if big else 12
        width = struct.pack(f"{form}{letter}", 256, kind, 1, 1).ljust(size, b"\xff")
        others = ((257, 65_000), (322, 60_000), (323, 16))
        entries = width + b"".join(
            struct.pack(f"{form}I", tag, LONG, 1, number).ljust(size, b"\0")
            for tag, number in others
        )
        head = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, 4)
        with pytest.raises(InvalidImage, match="pixels together"):
            check_costs(head + entries if big else block(entries), "scan.tif")


def test_two_marks_of_tiff_that_only_pillow_takes() -> None:
    greedy = struct.pack("<HHII", 1, BYTE, 2**31, 8) * 900
    exif = block(greedy).ljust(60_000, b"\0")
    with pytest.raises(InvalidImage, match="fields that claim far more"):
        check_costs(b"II\0*" + exif[4:], "scan.tif")
    for before in (b"", b"Exif\0\0", b"Exif\0\0" * 2):  # all of which Pillow leaves out
        with pytest.raises(InvalidImage, match="fields that claim far more"):
            check_exif(before + exif, "photo.jpg")
        with pytest.raises(InvalidImage, match="fields that claim far more"):
            check_costs(jpeg(before + exif), "photo.jpg")


def test_big_tiff_of_the_other_byte_order_is_told() -> None:
    """Pillow reads a directory of it that libtiff does not know."""
    with pytest.raises(InvalidImage, match=r"scan\.tif is a BigTIFF of the byte order MM"):
        check_costs(b"MM\0+" + bytes(12), "scan.tif")


def png_of(chunks: bytes, bits: int = 16) -> bytes:
    """Of 16 x 16 pixels, in colour."""
    header = struct.pack(">IIBBBBB", 16, 16, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def test_profiles_and_exif_segments_are_counted() -> None:
    """Each profile would be unpacked, and all segments copied for each of them."""
    profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(1000)))
    check_costs(png_of(profile * 10), "photo.png")
    with pytest.raises(InvalidImage, match=r"photo\.png has over 10 ICC profiles"):
        check_costs(png_of(profile * 11), "photo.png")
    segment = jpeg(bytes(8))[2:-2]
    check_costs(b"\xff\xd8" + segment * 100 + b"\xff\xd9", "photo.jpg")
    with pytest.raises(InvalidImage, match=r"photo\.jpg has over 100 EXIF segments"):
        check_costs(b"\xff\xd8" + segment * 101 + b"\xff\xd9", "photo.jpg")


def test_a_png_is_not_unpacked_far_beyond_its_pixels() -> None:
    pixels = zlib.compress(bytes(16 * (1 + 16 * 6)))
    bomb = zlib.compress(bytes(2**23))
    start = time.perf_counter()
    for parts in (chunk(b"IDAT", bomb), chunk(b"IDAT", bomb[:99]) + chunk(b"IDAT", bomb[99:])):
        with pytest.raises(InvalidImage, match="far more compressed data than pixels"):
            decode_image(png_of(parts))
    assert decode_image(png_of(chunk(b"IDAT", bomb), bits=8)).colour.max() == 0  # Pillow stops
    assert decode_image(png_of(chunk(b"IDAT", pixels))).depth == 65535
    behind = pixels + bytes(2**25)  # which is never unpacked, here or there
    assert decode_image(png_of(chunk(b"IDAT", behind))).depth == 65535
    with pytest.raises(InvalidImage, match="damaged"):
        decode_image(png_of(chunk(b"IDAT", pixels[:9] + b"\xff" * 9 + bytes(2**11))))
    assert time.perf_counter() - start < 5


def test_a_png_begins_with_its_header() -> None:
    """Else another chunk there would say how many pixels there are, and of how many bits."""
    good = png_of(chunk(b"IDAT", zlib.compress(bytes(16 * (1 + 16 * 6)))))
    other = chunk(b"abCd", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0))
    with pytest.raises(InvalidImage, match=r"photo\.png is damaged: a PNG begins with its header"):
        decode_image(good[:8] + other + good[8:], name="photo.png")
    for length in range(16):
        check_costs(good[:length], "photo.png")
