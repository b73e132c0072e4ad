"""What the header of an image file says of its samples: bits, sign, order, and what each is for.

Pillow narrows 16-bit colour to 8 bits without a word, so the header has to be asked.
"""

from __future__ import annotations

from PIL import Image as PillowImage

from ranksrgan.contracts.errors import InvalidImage

# A TIFF's word about its fourth channel: something else, or alpha of two kinds (TIFF 6.0, p. 31).
_EXTRA_SAMPLES = 338
NO_ALPHA, PREMULTIPLIED, STRAIGHT = 0, 1, 2

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_SAMPLES = 277
_SAMPLE_FORMAT, _UNSIGNED, _UNDEFINED = 339, 1, 4
_PLANAR, _SEPARATE = 284, 2


def bits_per_sample(image: PillowImage.Image, data: bytes) -> int:
    """The most that a channel has, as the header of these bytes says."""
    if image.format == "PNG":
        return data[24]  # IHDR: 8 signature, 8 chunk head, 4 width, 4 height, then the bit depth
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    return 8


def is_unsigned(image: PillowImage.Image) -> bool:
    """Whether samples are whole numbers from 0, as all are but some of TIFF. Of 8 bits with a sign
    Pillow makes others without a word."""
    if image.format != "TIFF":
        return True
    kinds = image.tag_v2.get(_SAMPLE_FORMAT, _UNSIGNED)  # type: ignore[attr-defined]
    return set(kinds if isinstance(kinds, tuple) else (kinds,)) <= {_UNSIGNED, _UNDEFINED}


def separate_samples(image: PillowImage.Image) -> int:
    """How many channels lie one behind the other; 0 if they do not."""
    if image.format != "TIFF" or image.tag_v2.get(_PLANAR) != _SEPARATE:  # type: ignore[attr-defined]
        return 0
    return samples_per_pixel(image)


def samples_per_pixel(image: PillowImage.Image) -> int:
    """How many channels a TIFF file says that it has, or how many Pillow makes of another."""
    if image.format != "TIFF":
        return len(image.getbands())
    return int(image.tag_v2.get(_SAMPLES, 1))  # type: ignore[attr-defined]


def is_negative(image: PillowImage.Image) -> bool:
    """Whether 0 is white, as in some TIFF files of scanners."""
    if image.format != "TIFF":
        return False
    return bool(image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)  # type: ignore[attr-defined]


def kind_of_the_fourth(image: PillowImage.Image) -> int:
    """What a TIFF's fourth channel is; without a word about it, and in PNG, straight alpha."""
    if image.format != "TIFF":
        return STRAIGHT
    kinds = image.tag_v2.get(_EXTRA_SAMPLES) or (STRAIGHT,)  # type: ignore[attr-defined]
    return int(kinds[0])


def wrong_channels(number: int, name: str) -> InvalidImage:
    """Of an image with so many channels, which is not read."""
    return InvalidImage(
        f"{name} has {number} channels; grey, RGB and RGBA are read: save it without the others, "
        "such as further masks",
        field=name,
    )
