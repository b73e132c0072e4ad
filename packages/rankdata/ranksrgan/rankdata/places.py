"""Where images and weights lie is no part of what a dataset is: a folder may be named otherwise, by
a relative path say, or have been moved. What lies there is compared by hashes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePath
from typing import Any

from ranksrgan.contracts.specs import WEIGHTS_SUFFIXES, is_remote

#: Facts of a level that only say where it lies.
_PLACES = ("name", "folder")


def respelled(settings: dict[str, Any], there: object) -> dict[str, Any]:
    """Settings of a build with its places written as others have them.

    Args:
        settings: see `ranksrgan.rankdata.identity.settings_of`, as JSON values.
        there: the others; what has another form changes nothing.

    Returns:
        A copy. Where it still differs from ``there``, something else than a place does.
    """
    now = deepcopy(settings)
    try:
        config, before, facts_before = now["config"], there["config"], there["levels"]  # type: ignore[index]
        kinds = {name: kind for name, (kind, _) in facts_before.items()}
        specs = same_places(dict(config["levels"]), dict(before["levels"]), kinds)
        config["hr"] = before["hr"]
        for level in config["levels"]:
            name, spec = level
            kind, facts = now["levels"][name]
            if specs[name] != spec and kind == kinds[name]:
                level[1] = specs[name]
                known = facts_before[name][1]
                facts |= {key: known[key] for key in _PLACES if key in known}
    except (KeyError, TypeError, ValueError, AttributeError):
        return deepcopy(settings)  # of an earlier version, or of no build
    return now


def same_places(
    levels: Mapping[str, str], before: Mapping[str, str], kinds: Mapping[str, str]
) -> dict[str, str]:
    """Specs of levels by name, each as it was before where only the place may be another one.

    Args:
        levels: specs now.
        before: specs then.
        kinds: of the levels then.
    """
    return {
        name: before[name] if _may_be_moved(kinds.get(name), before.get(name, spec), spec) else spec
        for name, spec in levels.items()
    }


def _may_be_moved(kind: str | None, before: str, now: str) -> bool:
    if kind == "folder":
        return True
    (file, *options), (other, *others) = before.split("?", 1), now.split("?", 1)
    return kind == "upscaler" and options == others and _is_weights(file) and _is_weights(other)


def _is_weights(file: str) -> bool:
    return PurePath(file).suffix in WEIGHTS_SUFFIXES and not is_remote(file)
