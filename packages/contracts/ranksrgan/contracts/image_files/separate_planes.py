"""TIFF files whose channels lie one behind the other, each in strips or tiles of its own.

OpenCV, the one reader here of 16 bits, takes them for pixels that follow one another, without a
word. So each channel is given to it as a grey file: the same bytes with a directory more, in which
the strips of that channel are all that there are. TIFF 6.0, p. 38 (PlanarConfiguration 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from ranksrgan.contracts.errors import InvalidImage
from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.exif import LONG, LONG8, SHORT, Field

_BITS, _PHOTOMETRIC, _SAMPLES, _SAMPLE_FORMAT = 258, 262, 277, 339
_MIN_IS_BLACK = 1

# Sides, compression, order of bits, orientation, rows of a strip, predictor, sides of tiles.
_OF_ALL = frozenset({256, 257, 259, 266, 274, 278, 317, 322, 323})
_BY_CHANNEL = frozenset({_BITS, _SAMPLE_FORMAT})
_BY_PART = frozenset({273, 279, 324, 325})  # where strips and tiles are, and their lengths
_BYTES = {SHORT: 2, LONG: 4, LONG8: 8}


def separate_planes(data: bytes, samples: int, name: str) -> Iterator[bytes]:
    """A grey TIFF file for each channel.

    Args:
        data: of a file whose channels are separate.
        samples: how many there are.
        name: what messages call the file.

    Raises:
        InvalidImage: its strips or tiles are not the same number for each channel.
    """
    order, big = exif.byte_order(data), 43 in data[2:4]
    head = data[:8] if big else data[:4]
    pad = bytes(-len(data) % 8)
    at = len(data) + len(pad)
    pointer = struct.pack(f"{order}{'Q' if big else 'I'}", at)
    rest = memoryview(data)[len(head) + len(pointer) :]
    fields = exif.read_fields(data)
    grey = [
        Field(tag, SHORT, struct.pack(f"{order}H", value))
        for tag, value in ((_PHOTOMETRIC, _MIN_IS_BLACK), (_SAMPLES, 1))
    ]
    for number in range(samples):
        own = [_of_channel(field, number, samples, name) for field in fields if _is_kept(field)]
        directory = exif.to_bytes(own + grey, order, at, big=big)
        yield b"".join((head, pointer, rest, pad, directory))


def _is_kept(field: Field) -> bool:
    return field.tag in _OF_ALL | _BY_CHANNEL | _BY_PART


def _of_channel(field: Field, number: int, samples: int, name: str) -> Field:
    one_for_all = field.tag in _BY_CHANNEL and len(field.values) == _BYTES.get(field.kind)
    if field.tag in _OF_ALL or one_for_all:
        return field
    length = len(field.values) // samples
    if len(field.values) % samples or length % _BYTES.get(field.kind, 1):
        raise InvalidImage(
            f"{name} is damaged: it has another number of strips or tiles for each of its "
            f"{samples} separate channels",
            field=name,
        )
    return replace(field, values=field.values[number * length : (number + 1) * length])
