from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.images import Picture, decode_image, encode_image

RANDOM = np.random.default_rng(0)
FRAMES = [Image.fromarray(RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)) for _ in range(3)]


def saved(kind: str, frames: list[Image.Image], **options: object) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options", "what"),
    [
        ("WEBP", {"lossless": True}, "3 pictures (frames of an animation)"),
        ("PNG", {}, "3 pictures (frames of an animation)"),
        ("PNG", {"default_image": True}, "3 pictures (frames of an animation)"),
        ("TIFF", {}, "3 pictures (pages)"),
        ("TIFF", {"big_tiff": True}, "3 pictures (pages)"),
    ],
)
def test_several_pictures_in_one_file_are_refused(
    kind: str, options: dict[str, object], what: str
) -> None:
    with pytest.raises(InvalidImage) as refused:
        decode_image(saved(kind, FRAMES, **options), name="moving")
    assert f"moving holds {what}" in str(refused.value)
    assert "a file of its own" in str(refused.value)
    assert refused.value.field == "moving"
    alone = {key: value for key, value in options.items() if key != "default_image"}
    single = decode_image(saved(kind, FRAMES[:1], **alone))
    assert np.array_equal(single.colour, np.asarray(FRAMES[0]))


def test_the_second_picture_of_a_phone_s_jpeg_is_no_obstacle() -> None:
    data = saved("MPO", FRAMES[:2])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert decode_image(data).colour.shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("tag", "value", "another_form"),
    [(254, 1, True), (254, 4, True), (254, 2, False), (254, 0, False), (255, 2, True)],
)
def test_reduced_sizes_and_masks_are_no_pictures_of_their_own(
    tag: int, value: int, another_form: bool
) -> None:
    second = FRAMES[1].copy()
    second.encoderinfo = {"tiffinfo": {tag: value}}
    data = saved("TIFF", [FRAMES[0], second])
    if another_form:
        assert np.array_equal(decode_image(data).colour, np.asarray(FRAMES[0]))
        return
    with pytest.raises(InvalidImage, match="2 pictures"):
        decode_image(data)


def linked(following: bytes, *, at: int | None = None) -> bytes:
    """A TIFF of 7 x 5 pixels whose first directory names a next one: by default ``following``."""
    data = encode_image(Picture(np.asarray(FRAMES[0])), suffix=".tif")
    assert data[:2] == b"II"
    (own,) = struct.unpack_from("<I", data, 4)
    (fields,) = struct.unpack_from("<H", data, own)
    end = own + 2 + 12 * fields
    place = len(data) if at is None else at
    return data[:end] + struct.pack("<I", place) + data[end + 4 :] + following


def directory(*entries: tuple[int, int, int], following: int = 0) -> bytes:
    """Of fields with one value: tag, type, value."""
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


PAGE = ((256, 3, 6), (257, 3, 4))


@pytest.mark.parametrize(
    ("following", "pages"),
    [
        (directory(*PAGE), 2),
        (directory((256, 4, 6), (257, 4, 4)), 2),
        (directory(*PAGE)[:-4], 2),  # the file ends in it
        (directory(*PAGE)[:-5], 1),  # its fields are cut off
        (directory(*reversed(PAGE)), 1),  # tags that fall
        (directory((257, 3, 4)), 1),
        (directory((256, 2, 6), (257, 3, 4)), 1),  # a width that is a text
        (directory((256, 3, 0), (257, 3, 4)), 1),
        (bytes(range(1, 200)), 1),
        (b"\xff" * 99, 1),
        (bytes(99), 1),
    ],
)
def test_a_pointer_to_something_else_is_no_page(following: bytes, pages: int) -> None:
    data = linked(following)
    if pages == 1:
        assert np.array_equal(decode_image(data).colour, np.asarray(FRAMES[0]))
        return
    with pytest.raises(InvalidImage, match="2 pictures"):
        decode_image(data)


def test_a_pointer_into_the_pixels_is_no_page() -> None:
    for at in range(8, 8 + 3 * 5 * 7, 2):
        assert decode_image(linked(b"", at=at)).width == 7


@pytest.mark.parametrize(("width", "pages"), [(2, 1), (8, 2)])
def test_numbers_of_the_other_byte_order(width: int, pages: int) -> None:
    """Eight by eight grey pixels, and a second directory of two by two, or of eight by two."""
    own = (
        (256, 8),
        (257, 8),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 8),
        (279, 64),
    )
    data = struct.pack(">2sHI", b"MM", 42, 8)
    for fields, following in ((own, 122), (((256, width), (257, 2)), 0)):
        data += struct.pack(">H", len(fields))
        data += b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in fields)
        data += struct.pack(">I", following)
    data = data.ljust(200, b"\0") + bytes(range(64))
    if pages == 1:
        assert np.array_equal(decode_image(data).colour.ravel(), np.arange(64))
        return
    with pytest.raises(InvalidImage, match="2 pictures"):
        decode_image(data)


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}])
@pytest.mark.parametrize(
    ("size", "thumbnail"),
    [
        ((10, 8), True),
        ((12, 10), True),
        ((12, 9), True),
        ((25, 20), False),
        ((10, 4), False),
        ((50, 40), False),
        ((100, 80), False),
    ],
)
def test_a_small_one_of_the_same_proportions_is_a_thumbnail(
    size: tuple[int, int], thumbnail: bool, options: dict[str, object]
) -> None:
    whole = Image.fromarray(RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    data = saved("TIFF", [whole, whole.resize(size)], **options)
    if thumbnail:
        assert np.array_equal(decode_image(data).colour, np.asarray(whole))
        return
    with pytest.raises(InvalidImage, match="2 pictures"):
        decode_image(data)


def chained(directories: int, *, last: int) -> bytes:
    """A TIFF with so many small pages behind its own, and a last pointer."""
    begin = len(encode_image(Picture(np.asarray(FRAMES[0])), suffix=".tif"))
    length = len(directory(*PAGE))
    ends = [begin + length * number for number in range(directories)] + [last]
    chain = b"".join(directory(*PAGE, following=following) for following in ends[1:])
    return linked(chain, at=ends[0])


def test_no_chain_of_directories_costs_much_or_lasts_for_ever() -> None:
    with pytest.raises(InvalidImage, match="over 1000 pictures"):
        decode_image(chained(100_000, last=0))
    own = struct.unpack_from("<I", chained(0, last=0), 4)[0]
    for last in (0, own, 2**32 - 1):  # the end, itself, and nowhere
        assert decode_image(chained(0, last=last)).width == 7


def test_directories_that_overlap_do_not_cost_minutes() -> None:
    """A thousand directories of 3000 fields in 50 KB: the place of each is a field of another."""
    grid = len(encode_image(Picture(np.asarray(FRAMES[0])), suffix=".tif"))
    count = 3000
    field = struct.pack("<HHIHH", 254, 4, 1, 0, count)
    links = b"".join(
        struct.pack("<IIHH", grid + 12 * (number + 1), 1, 0, count) for number in range(1000)
    )
    data = linked(struct.pack("<H", count) + field * count + links + bytes(16), at=grid)
    start = time.perf_counter()
    assert decode_image(data).width == 7
    assert time.perf_counter() - start < 5  # else minutes
