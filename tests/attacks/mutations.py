"""Requests that nobody should send, from valid ones: as bytes, and field by field."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import EncodeError, Message

_INTEGERS = (0, -1, 1, 2, 3, 7, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, -1.0, 0.5, 1e30, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
_WORDS = ("", "niqe", "tiny", "datasets/noise", "operations/ranker-000001-00000000", "steps", "a b")
_TEXTS = (
    *_WORDS,
    ".",
    "..",
    "/",
    "datasets/",
    "datasets/..",
    "datasets/../rankers/tiny",
    "../../../../etc/passwd",
    "/dev/zero",
    "images/noise/../../models",
    "models/tiny.safetensors",
    "rankers/tiny?device=cuda:99",
    "grpc://127.0.0.1:1/niqe",
    "unix:///dev/null/niqe",
    "file:///etc/passwd",
    "niqe?border=-1",
    "niqe?border=999999",
    "niqe?border=4&border=4",
    "niqe?" + "&" * 1000,
    "niqe-" * 300,
    "0.1*niqe+" * 200 + "rmse",
    "rmse*1e999",
    "%s%n%x{0}{}",
    "\0",
    "a\0b",
    "\u202e\u0000\uffff",
    "\U0001f980" * 50,
    "x" * 300,
    "x" * 20_000,
    "$(reboot)",
    "'; DROP TABLE votes; --",
)
_UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64}
_WHOLE = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, *_UNSIGNED}
_SHORT = {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}
_REAL = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def mutated(valid: Sequence[Message], chance: random.Random) -> bytes:
    """A request made from one or two valid ones of its method, or from nothing."""
    message = chance.choice(valid)
    kind = chance.random()
    if kind < 0.05:
        return chance.randbytes(chance.choice((0, 1, 7, 64, 1000, 20_000)))
    if kind < 0.6:
        return _with_changed_fields(message, chance)
    data = bytearray(message.SerializeToString())
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        _damage(data, chance.choice(valid).SerializeToString(), chance)
    return bytes(data)


def filled(message: Message, chance: random.Random, depth: int = 0) -> Message:
    """Set fields of a message to something of their type; for methods that nobody has a sample of.

    Returns:
        The message.
    """
    for field in message.DESCRIPTOR.fields:
        if chance.random() < (0.25 if depth < 4 else 1):
            continue
        _set(message, field, chance, depth)
    return message


def _with_changed_fields(message: Message, chance: random.Random) -> bytes:
    changed = type(message)()
    changed.CopyFrom(message)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _change(changed, chance)
    try:
        return changed.SerializeToString()
    except (EncodeError, UnicodeEncodeError):
        return message.SerializeToString()


def _change(message: Message, chance: random.Random) -> None:
    """Change a field somewhere below: set it to something, remove it, or repeat it."""
    below = [
        (field, value)
        for field, value in message.ListFields()
        if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE and not _is_map(field)
    ]
    if below and chance.random() < 0.7:
        field, value = chance.choice(below)
        children = list(value) if field.is_repeated else [value]
        if children:
            _change(chance.choice(children), chance)
            return
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    field = chance.choice(fields)
    how = chance.random()
    if how < 0.15:
        message.ClearField(field.name)
    elif how < 0.3 and field.is_repeated and not _is_map(field):
        values = getattr(message, field.name)
        if 0 < len(values) < 50:
            values.extend(list(values)[:1] * chance.choice((1, 3, 40)))
    else:
        _set(message, field, chance, 0)


def _set(message: Message, field: FieldDescriptor, chance: random.Random, depth: int) -> None:
    value = getattr(message, field.name)
    if _is_map(field):
        key = chance.choice(_TEXTS)
        inside = field.message_type.fields_by_name["value"]
        if inside.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            if depth < 4:
                filled(value[key], chance, depth + 1)
        elif field.message_type.fields_by_name["key"].cpp_type == FieldDescriptor.CPPTYPE_STRING:
            value[key] = _scalar(inside, chance)
    elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        if depth < 4:
            filled(value.add() if field.is_repeated else value, chance, depth + 1)
    elif field.is_repeated:
        value.extend(_scalar(field, chance) for _ in range(chance.choice((1, 2, 3, 5))))
    else:
        setattr(message, field.name, _scalar(field, chance))


def _scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind in _WHOLE:
        bits = 32 if kind in _SHORT else 64
        number = chance.choice(_INTEGERS)
        if kind in _UNSIGNED:
            return number % 2**bits
        return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, number))
    if kind in _REAL:
        number = chance.choice(_FLOATS)
        return number if kind == FieldDescriptor.CPPTYPE_DOUBLE else min(number, 3e38)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice((0, 1, 2, 3, 5, 99, -1, 2**31 - 1))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.randbytes(chance.choice((0, 1, 12, 48, 500)))
    return chance.choice(_TEXTS)


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _damage(data: bytearray, other: bytes, chance: random.Random) -> None:
    """Damage a serialized message in one of the ways in which bytes go wrong."""
    where = chance.randrange(len(data) + 1)
    # Most of a message with an image is pixels, in which no damage shows: the head is hit as often.
    if chance.random() < 0.5:
        where = min(where, chance.randrange(64))
    length = chance.choice((1, 1, 2, 8, 100))
    how = chance.randrange(6)
    if how == 0 and data:
        data[where % len(data)] ^= 1 << chance.randrange(8)
    elif how == 1:
        del data[where:]
    elif how == 2:
        del data[where : where + length]
    elif how == 3:
        data[where:where] = chance.randbytes(length)
    elif how == 4:
        data[where:where] = data[where : where + length] * chance.choice((1, 2, 20))
    else:
        data[where:] = other[chance.randrange(len(other) + 1) :]
