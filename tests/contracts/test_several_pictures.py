from __future__ import annotations

import io
import struct

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


def chained(directories: int, *, last: int) -> bytes:
    """A TIFF with so many directories behind its own, which have no fields, and a last pointer."""
    data = encode_image(Picture(np.asarray(FRAMES[0])), suffix=".tif")
    (own,) = struct.unpack_from("<I", data, 4)
    (fields,) = struct.unpack_from("<H", data, own)
    end = own + 2 + 12 * fields
    ends = [len(data) + 6 * number for number in range(directories)] + [last]
    chain = b"".join(struct.pack("<HI", 0, following) for following in ends[1:])
    return data[:end] + struct.pack("<I", ends[0]) + data[end + 4 :] + chain


def test_no_chain_of_directories_costs_much_or_lasts_for_ever() -> None:
    with pytest.raises(InvalidImage, match="over 1000 pictures"):
        decode_image(chained(500_000, last=0))
    own = struct.unpack_from("<I", chained(0, last=0), 4)[0]
    for last in (0, own, 2**32 - 1):  # the end, itself, and nowhere
        assert decode_image(chained(0, last=last)).width == 7
