"""The chunks that a PNG is made of (W3C Portable Network Graphics, third edition, 5.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_SIGNATURE = 8  # bytes
_NEEDED = frozenset({b"IHDR", b"tRNS", b"IDAT", b"IEND"})


class Chunk(NamedTuple):
    """One of them, of which a part is missing where the file ends before.

    Attributes:
        kind: its four letters.
        content: of its length.
        whole: the same with length, kind and check around it.
    """

    kind: bytes
    content: memoryview
    whole: memoryview


def chunks(data: bytes) -> Iterator[Chunk]:
    """Of a PNG file, to its last byte."""
    at, file = _SIGNATURE, memoryview(data)
    while at + 8 <= len(data):
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        yield Chunk(data[at + 4 : start], file[start:end], file[at : end + 4])
        at = end + 4


def pixels_alone(data: bytes) -> bytes:
    """A PNG of 16 bits without what its pixels do not need: libpng writes a line on standard error
    for every other chunk that it does not like."""
    kept, seen = [memoryview(data)[:_SIGNATURE]], set[bytes]()
    for kind, _, whole in chunks(data):
        misplaced = kind == b"tRNS" and seen & {b"tRNS", b"IDAT"}
        if kind in _NEEDED and not misplaced:
            kept.append(whole)
            seen.add(kind)
    return b"".join(kept)
