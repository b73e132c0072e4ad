"""The drift alarm: a metric that is trained for improves while one that is not gets worse.

A generator that learns the blind spots of its Ranker raises the Ranker's opinion and lowers that of
everybody else. A trend is Kendall's tau of a metric's last values with time (Mann, 1945): 1 if each
is larger than all before it, -1 if smaller. It knows no units, and a single outlier costs it
little. Of five values in random order the tau reaches 0.8 in one case of 24.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.config import DriftConfig

Scores = Mapping[str, float | None]


def trend(values: Sequence[float]) -> float:
    """Kendall's tau of two values or more with their order, from -1 to 1."""
    pairs = list(combinations(values, 2))
    return sum((later > earlier) - (later < earlier) for earlier, later in pairs) / len(pairs)


class DriftAlarm:
    """Watches the validations.

    Args:
        config: which metrics, over how many validations, how clear a trend.
        higher_is_better: direction of each metric that a validation has.

    Raises:
        InvalidConfig: none of those metrics.
    """

    def __init__(self, config: DriftConfig, higher_is_better: Mapping[str, bool]) -> None:
        for key in ("optimised", "held_out"):
            for metric in getattr(config, key):
                if metric not in higher_is_better:
                    raise InvalidConfig(
                        f"validation.drift.{key} names {metric}; there is "
                        f"{', '.join(higher_is_better)}",
                        field=f"validation.drift.{key}",
                    )
        self._config = config
        self._higher_is_better = higher_is_better

    def remember(
        self, recent: Sequence[tuple[int, dict[str, float | None]]], step: int, scores: Scores
    ) -> list[tuple[int, dict[str, float | None]]]:
        """The validations that `check` looks at, with one more."""
        return [*recent, (step, dict(scores))][-self._config.over :]

    def check(self, recent: Sequence[tuple[int, Scores]]) -> str | None:
        """What is wrong with the last validations (step and scores), oldest first; None if nothing.

        There is nothing to say before ``over`` of them, nor about a metric that had no value in one
        of them, or was not there.
        """
        config = self._config
        window = recent[-config.over :]
        if len(window) < config.over:
            return None
        gains = [m for m in config.optimised if self._gain(m, window) >= config.agreement]
        losses = [m for m in config.held_out if self._gain(m, window) <= -config.agreement]
        if not gains or not losses:
            return None
        (first, before), (last, now) = window[0], window[-1]

        def told(metrics: list[str]) -> str:
            return " and ".join(f"{m} ({before[m]:.4g} to {now[m]:.4g})" for m in metrics)

        return (
            f"from step {first} to {last} {told(gains)} improved and {told(losses)} got worse: the "
            "generator may be learning what the optimised metric does not see"
        )

    def _gain(self, metric: str, window: Sequence[tuple[int, Scores]]) -> float:
        """The trend, positive where it is one to the better."""
        values = [value for _, scores in window if (value := scores.get(metric)) is not None]
        if len(values) < len(window):
            return 0.0
        return trend(values) if self._higher_is_better[metric] else -trend(values)


def write_alarms(folder: Path, alarms: Sequence[Mapping[str, int | str]]) -> None:
    """Put the alarms of a run, each with ``step`` and ``message``, into its ``run.json``."""
    path = folder / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["drift"] = [dict(alarm) for alarm in alarms]
    atomic.write_text(path, json.dumps(record, indent=2) + "\n")
