"""Chance that depends on a seed and on names alone: never on the order or the place of work."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def digest(seed: int, *names: str) -> bytes:
    """32 bytes that seed and names fix."""
    return hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()


def number(seed: int, *names: str) -> int:
    """A whole number below 2^64 that seed and names fix."""
    return int.from_bytes(digest(seed, *names)[:8], "big")


def choose(items: Sequence[T], count: int | None, key: Callable[[T], int]) -> list[T]:
    """The ``count`` items of smallest ``key`` in the order they came in; all if count is None.

    One more item takes the place of at most one other.
    """
    if count is None or len(items) <= count:
        return list(items)
    chosen = sorted(range(len(items)), key=lambda index: key(items[index]))[:count]
    return [items[index] for index in sorted(chosen)]
