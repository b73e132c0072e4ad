"""What a weights file says of the outputs of its Ranker.

A Ranker of one metric has these in its ``about``, among other things:

    {"metric": "niqe", "higher_is_better": false, "scores": {"mean": -0.2, "std": 1.7}}

A Ranker of several has such an entry for each output, in their order:

    {"heads": [{"metric": "niqe", ...}, {"metric": "ma", ...}]}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UnknownName


class ScoreScale(NamedTuple):
    """Where a Ranker's scores lie: mean and standard deviation over its validation images.

    A margin-ranking loss leaves the offset of the scores free, and other losses their unit as well,
    so that scores of two Rankers can be compared only after this is taken out.
    """

    mean: float
    std: float  # above 0


@dataclass(frozen=True)
class Head:
    """One output of a Ranker.

    Attributes:
        metric: what it has learnt; None if the file does not say.
        higher_is_better: the direction of that metric, which its score follows; None likewise.
        scale: of its scores; None if nobody measured it.
    """

    metric: str | None = None
    higher_is_better: bool | None = None
    scale: ScoreScale | None = None


def heads_about(heads: Sequence[Head]) -> dict[str, Any]:
    """The part of ``about`` that `read_heads` reads, as JSON values."""
    entries = [
        {
            "metric": head.metric,
            "higher_is_better": head.higher_is_better,
            "scores": head.scale._asdict() if head.scale else None,
        }
        for head in heads
    ]
    return entries[0] if len(entries) == 1 else {"heads": entries}


def read_heads(weights: Weights, outputs: int) -> list[Head]:
    """What ``weights.about`` says of each of the network's outputs.

    Raises:
        InvalidCheckpoint: it says something else than the module's head describes, or says it of
            more or fewer outputs.
    """
    about = weights.about
    entries: Any = about.get("heads", [about] if outputs == 1 else [{}] * outputs)
    where = str(weights.path)
    if not isinstance(entries, list) or len(entries) != outputs:
        raise InvalidCheckpoint(
            f"{where}: about.heads should be a list of {outputs}, one for each output of the "
            f"network, not {entries!r:.80}",
            field="about.heads",
        )
    heads = [_read_head(entry, where) for entry in entries]
    names = [head.metric for head in heads if head.metric is not None]
    if len(set(names)) != len(names):
        raise InvalidCheckpoint(
            f"{where}: two heads have one name: {', '.join(names)}", field="about.heads"
        )
    return heads


def find_head(heads: Sequence[Head], metric: str, where: str) -> int:
    """Which output has learnt that metric.

    Raises:
        UnknownName: none has; the message lists those there are.
    """
    names = [head.metric for head in heads]
    if metric not in names:
        known = ", ".join(name for name in names if name is not None)
        raise UnknownName(
            f"{where} has no head {metric!r}; it has {known or 'none with a name'}", field="head"
        )
    return names.index(metric)


def check_head(head: int, heads: int) -> None:
    """Raise `InvalidInput` unless a network of so many outputs has this one, counted from 0."""
    if not 0 <= head < heads:
        raise InvalidInput(
            f"there is no head {head}: the Ranker has {heads}, counted from 0", field="head"
        )


def _read_head(entry: Any, where: str) -> Head:
    if not isinstance(entry, Mapping):
        raise InvalidCheckpoint(
            f"{where}: a head is described by a JSON object, not by {entry!r:.80}",
            field="about.heads",
        )
    metric, higher = entry.get("metric"), entry.get("higher_is_better")
    if not isinstance(metric, str | None):
        raise InvalidCheckpoint(
            f"{where}: metric is a name, not {metric!r:.80}", field="about.metric"
        )
    if not isinstance(higher, bool | None):
        raise InvalidCheckpoint(
            f"{where}: higher_is_better is true or false, not {higher!r:.80}",
            field="about.higher_is_better",
        )
    return Head(metric, higher, _read_scale(entry.get("scores"), where))


def _read_scale(entry: Any, where: str) -> ScoreScale | None:
    if entry is None:
        return None
    match entry:
        case {"mean": int() | float() as mean, "std": int() | float() as std}:
            if math.isfinite(mean) and math.isfinite(std) and std > 0:
                return ScoreScale(float(mean), float(std))
    raise InvalidCheckpoint(
        f"{where}: scores has a finite mean and a std above 0, not {entry!r:.80}",
        field="about.scores",
    )
