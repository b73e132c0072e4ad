"""Names in an error's message, where there may be thousands."""

from __future__ import annotations

from collections.abc import Sequence

_SHOWN = 3


def some_names(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
