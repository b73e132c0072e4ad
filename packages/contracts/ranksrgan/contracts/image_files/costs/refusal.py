"""What is said of a file that costs too much."""

from __future__ import annotations

from ranksrgan.contracts.errors import InvalidImage


def refused(name: str, why: str) -> InvalidImage:
    """The error of a file, whose name is followed by what is wrong with it."""
    return InvalidImage(
        f"{name} {why}: it would cost far more to read than its pixels do; save it anew",
        field=name,
    )
