from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pytest

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.exif import LONG, SHORT, Field
from ranksrgan.contracts.images import decode_image

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 65536, (7, 9, 4), dtype=np.uint16)
ROWS = 3  # of a strip


def separate(
    pixels: npt.NDArray[np.uint16],
    *,
    order: str = "<",
    big: bool = False,
    orientation: int = 1,
    lost: int = 0,
) -> bytes:
    """A TIFF file of one channel behind the other, each in strips; of those some may be lost."""
    height, width, samples = pixels.shape
    strips = [
        pixels[top : top + ROWS, :, channel].astype(f"{order}u2").tobytes()
        for channel in range(samples)
        for top in range(0, height, ROWS)
    ]
    begin = 16 if big else 8
    at = [begin + sum(map(len, strips[:number])) for number in range(len(strips))]

    def field(tag: int, kind: int, *numbers: int) -> Field:
        letter = "H" if kind == SHORT else "I"
        return Field(tag, kind, struct.pack(f"{order}{len(numbers)}{letter}", *numbers))

    fields = [
        field(256, SHORT, width),
        field(257, SHORT, height),
        field(258, SHORT, *[16] * samples),
        field(259, SHORT, 1),
        field(262, SHORT, 2),
        field(273, LONG, *at[lost:]),
        field(274, SHORT, orientation),
        field(277, SHORT, samples),
        field(278, SHORT, ROWS),
        field(279, LONG, *map(len, strips[lost:])),
        field(284, SHORT, 2),
    ]
    if samples == 4:
        fields.append(field(338, SHORT, 2))
    body = b"".join(strips)
    place = begin + len(body)
    mark = b"II" if order == "<" else b"MM"
    head = (
        struct.pack(f"{order}HHHQ", 43, 8, 0, place)
        if big
        else struct.pack(f"{order}HI", 42, place)
    )
    return mark + head + body + exif.to_bytes(fields, order, place, big=big)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("samples", [3, 4])
def test_separate_channels_of_sixteen_bits(order: str, big: bool, samples: int) -> None:
    """GDAL and tifffile write them; OpenCV would make stripes of a third of the picture."""
    picture = decode_image(separate(PIXELS[..., :samples], order=order, big=big))
    assert np.array_equal(picture.colour, PIXELS[..., :3])
    assert picture.colour.dtype == np.uint16
    if samples == 3:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, PIXELS[..., 3])


def test_they_stand_upright() -> None:
    picture = decode_image(separate(PIXELS[..., :3], orientation=6))
    assert np.array_equal(picture.colour, np.rot90(PIXELS[..., :3], -1))


def test_channels_of_unequal_numbers_of_strips() -> None:
    with pytest.raises(InvalidImage, match=r"photo\.tif is damaged: .* its 3 separate channels"):
        decode_image(separate(PIXELS[..., :3], lost=1), name="photo.tif")
