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
# Numbers that take one byte on the wire, and eight in memory.
_WIDE = (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64)


class _Known(NamedTuple):
    """Of a message's fields, by their numbers, those that may be many in few bytes."""

    messages: Mapping[int, Descriptor]
    wide: frozenset[int]


def has_more_fields(data: bytes, kind: Descriptor, most: int) -> bool:
    """Whether a message has over ``most`` fields, those of the messages in it and each of several
    whole numbers included.

    Takes time for so many at most. What is damaged counts as far as it can be read.

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
            tag, at = _varint(data, at)
            number, wire_type = tag >> 3, tag & 7
            if wire_type == _LENGTH:
                size, at = _varint(data, at)
                if number in known.messages:
                    inside.append((at, min(at + size, end), known.messages[number]))
                elif number in known.wide:
                    left -= size
                at += size
            elif wire_type == _VARINT:
                _, at = _varint(data, at)
            elif wire_type == _EIGHT_BYTES:
                at += 8
            elif wire_type == _FOUR_BYTES:
                at += 4
            elif wire_type not in (_GROUP, _GROUP_END):
                break
    return left < 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where the next one is; behind the end where it is cut off."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at


@cache
def _known(kind: Descriptor) -> _Known:
    messages = {f.number: f.message_type for f in kind.fields if f.message_type is not None}
    return _Known(messages, frozenset(f.number for f in kind.fields if f.type in _WIDE))
