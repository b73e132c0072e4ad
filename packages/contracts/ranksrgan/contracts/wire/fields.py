"""How many fields the bytes of a message have, which says what memory and time it takes to parse.

A field without content takes two bytes on the wire, and fifty times that as a message of its own.
The parser makes all of them before anybody can count, and lets no other thread run meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor

# Wire types; what stands in a group counts as what is around it.
_VARINT, _EIGHT_BYTES, _LENGTH, _GROUP, _GROUP_END, _FOUR_BYTES = range(6)
# Numbers that take one byte on the wire, and eight in memory: as much as a field are so many.
_WIDE = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)
_WIDE_OF_A_FIELD = 8
# Bytes of the longest number that there is.
_LONGEST = 10


class _Known(NamedTuple):
    """Of a message's fields, by their numbers, those that may be many in few bytes."""

    messages: Mapping[int, Descriptor]
    wide: frozenset[int]


def has_more_fields(data: bytes, kind: Descriptor, most: int) -> bool:
    """Whether a message has over ``most`` fields, those of the messages in it included, and one for
    each eight of several whole numbers.

    Takes time for so many at most. Of a message that is damaged counts what stands before that, as
    the parser would read it.

    Args:
        data: the message, serialized.
        kind: what it is.
        most: fields.
    """
    if len(data) <= 2 * most:  # as one without content takes two bytes
        return False
    left = most
    inside = [(0, len(data), kind)]
    while inside and left >= 0:
        at, end, message = inside.pop()
        known = _known(message)
        while at < end and left >= 0:
            left -= 1
            tag, at = _varint(data, at, end)
            number, wire_type = tag >> 3, tag & 7
            if wire_type == _LENGTH:
                size, at = _varint(data, at, end)
                if number in known.messages:
                    inside.append((at, min(at + size, end), known.messages[number]))
                elif number in known.wide:
                    left -= min(size, end - at) // _WIDE_OF_A_FIELD
                at += size
            elif wire_type == _VARINT:
                _, at = _varint(data, at, end)
            elif wire_type == _EIGHT_BYTES:
                at += 8
            elif wire_type == _FOUR_BYTES:
                at += 4
            elif wire_type not in (_GROUP, _GROUP_END):
                break
    return left < 0


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number, and where the next one is; ``end`` where it is cut off, or longer than any is."""
    value = 0
    for place in range(at, min(at + _LONGEST, end)):
        byte = data[place]
        value |= (byte & 0x7F) << 7 * (place - at)
        if byte < 0x80:
            return value, place + 1
    return value, end


@cache
def _known(kind: Descriptor) -> _Known:
    messages = {f.number: f.message_type for f in kind.fields if f.message_type is not None}
    return _Known(messages, frozenset(f.number for f in kind.fields if f.type in _WIDE))
