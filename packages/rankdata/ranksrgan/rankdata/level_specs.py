"""The levels that a dataset makes itself, as they are written in a configuration.

    hr                        the original
    bicubic                   MATLAB's bicubic of the degraded original
    interpolate:NAME:LAMBDA   LAMBDA * NAME + (1 - LAMBDA) * HR
    blur:WIDTH[:NAME]         Gaussian blur, WIDTH its standard deviation in pixels
    noise:SIGMA[:NAME]        white Gaussian noise, SIGMA its standard deviation on 0..255
    jpeg:QUALITY[:NAME]       JPEG, QUALITY from 1 to 100

NAME is another level; a distortion without it is one of HR. Everything else is a folder or what
`open_upscaler` takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

HR = "hr"
BICUBIC = "bicubic"

DistortionKind = Literal["blur", "noise", "jpeg"]

# What a strength is called, and the range it lies in, 0 itself left out.
_STRENGTHS = {"blur": ("WIDTH", 0, 100), "noise": ("SIGMA", 0, 255), "jpeg": ("QUALITY", 1, 100)}


class Interpolation(NamedTuple):
    """``interpolate:NAME:LAMBDA``: LAMBDA * NAME + (1 - LAMBDA) * HR."""

    level: str
    weight: float


class Distortion(NamedTuple):
    """``KIND:STRENGTH`` of HR, ``KIND:STRENGTH:NAME`` of another level."""

    kind: DistortionKind
    strength: float
    level: str | None


def interpolation(spec: str) -> Interpolation | None:
    """Take ``interpolate:NAME:LAMBDA`` apart; None for a spec of another kind.

    Raises:
        ValueError: malformed, or LAMBDA outside [0, 1].
    """
    if not spec.startswith("interpolate:"):
        return None
    try:
        _, level, text = spec.split(":")
        weight = float(text)
    except ValueError as error:
        raise ValueError(f"{spec}: write interpolate:NAME:LAMBDA") from error
    if not 0 <= weight <= 1:
        raise ValueError(f"{spec}: LAMBDA lies between 0 (HR) and 1 ({level})")
    return Interpolation(level, weight)


def distortion(spec: str) -> Distortion | None:
    """Take ``blur:WIDTH``, ``noise:SIGMA`` or ``jpeg:QUALITY`` apart, each with ``:NAME`` or not.

    None for a spec of another kind.

    Raises:
        ValueError: malformed, or a strength that does not exist.
    """
    kind, *parts = spec.split(":")
    if kind not in _STRENGTHS or not parts:
        return None
    word, low, high = _STRENGTHS[kind]
    level: str | None = None
    try:
        strength = int(parts[0]) if kind == "jpeg" else float(parts[0])
        if parts[1:]:
            (level,) = parts[1:]
    except ValueError as error:
        raise ValueError(f"{spec}: write {kind}:{word} or {kind}:{word}:NAME") from error
    if not (low <= strength <= high and strength > 0):
        raise ValueError(f"{spec}: {word} lies {'from' if low else 'above'} {low} up to {high}")
    return Distortion(cast(DistortionKind, kind), strength, level)


def making_order(levels: Mapping[str, str]) -> list[str]:
    """The names of the levels, each after the one that it is made from.

    Raises:
        ValueError: malformed, made from a level that is not there, or from itself in the end.
    """
    made_from = {name: _base(spec) for name, spec in levels.items()}
    ordered: list[str] = []
    while len(ordered) < len(levels):
        ready = [
            name
            for name, base in made_from.items()
            if name not in ordered and (base is None or base in ordered)
        ]
        if not ready:
            name, base = next((n, b) for n, b in made_from.items() if n not in ordered)
            problem = "is made from itself" if base in levels else f"{base!r} is not a level"
            raise ValueError(
                f"{name}={levels[name]}: {problem}; the levels are {', '.join(levels)}"
            )
        ordered += ready
    return ordered


def check_order(levels: Mapping[str, str]) -> None:
    """Check that levels listed from best to worst do not contradict their strengths.

    Distortions of one kind and one image have to grow, and the image itself comes before them. So
    do the lambdas of the interpolations of one level, which lie between HR and that level.

    Raises:
        ValueError: two levels are listed against their strengths; names both.
    """
    last: dict[_Scale, tuple[str, float]] = {}
    for name, spec in levels.items():
        for scale, strength in _places(name, spec, levels).items():
            before, weaker = last.get(scale, (name, -math.inf))
            if before != name and strength <= weaker:
                relation = "as strong" if strength == weaker else "nearer to the original"
                raise ValueError(
                    f"{before} ({levels[before]}) is listed before {name} ({spec}), which is "
                    f"{relation}; with label: order the list goes from best to worst"
                )
            last[scale] = (name, strength)


# A kind of level and the image it starts from.
_Scale = tuple[str, str]


def _places(name: str, spec: str, levels: Mapping[str, str]) -> dict[_Scale, float]:
    """Where a level stands on every scale of the list that it is part of; HR is on all of its."""
    places: dict[_Scale, float] = {}
    for other, text in levels.items():
        blend, distorted = interpolation(text), distortion(text)
        if blend is not None:
            end = 0.0 if spec == HR else 1.0 if name == blend.level else None
            place = blend.weight if other == name else end
            scale = ("interpolate", blend.level)
        elif distorted is not None:
            origin = distorted.level or HR
            growing = -distorted.strength if distorted.kind == "jpeg" else distorted.strength
            start = -math.inf if name == origin or origin == spec == HR else None
            place = growing if other == name else start
            scale = (distorted.kind, origin)
        else:
            continue
        if place is not None:
            places[scale] = place
    return places


def _base(spec: str) -> str | None:
    blend, distorted = interpolation(spec), distortion(spec)
    return blend.level if blend else distorted.level if distorted else None
