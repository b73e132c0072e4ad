"""What a recipe leaves open: where images and levels lie and the dataset goes, ``PATH/TO/...``."""

from __future__ import annotations

from collections.abc import Iterator

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.rankdata.config import BuildConfig, level_key

#: What places in the recipes of this package begin with that are still to be given.
OPEN = "PATH/TO/"


def check_filled(config: BuildConfig) -> None:
    """Whether everything that the recipe leaves open has been given.

    Args:
        config: that is to be built; levels for which there are objects are listed in its ``given``.

    Raises:
        InvalidConfig: something has not; names all of it and the flags that give it. ``field`` is
            the first such key.
    """
    places = dict(_places(config))
    if not places:
        return
    listed = ", ".join(f"{key} ({flag})" for key, flag in places.items())
    what = (
        "; a level is a weights file, the name of a shipped network, a folder of finished results "
        "or a service"
    )
    of_levels = what if any(key.startswith(level_key("")) for key in places) else ""
    raise InvalidConfig(
        f"the recipe leaves open {listed}: {OPEN}... stands there{of_levels}",
        field=next(iter(places)),
    )


def _places(config: BuildConfig) -> Iterator[tuple[str, str]]:
    """The keys that are open, each with the flag that gives it."""
    for key, flag, place in (("hr", "--hr", config.hr), ("output", "-o", config.output)):
        if place.as_posix().startswith(OPEN):
            yield key, f"{flag} DIR"
    for name, spec in config.levels.items():
        key = level_key(name)
        if spec.startswith(OPEN) and key not in config.given:
            yield key, f"--level {name}=FILE"
