"""Names in an error's message, where there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence


def some_names(names: Sequence[str], most: int = 3) -> str:
    """The first ones, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
