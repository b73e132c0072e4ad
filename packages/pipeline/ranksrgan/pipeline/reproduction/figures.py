"""From the evaluations of pictures to figures: means over the images that all methods have.

A metric has no value for some images, such as those that are too flat for NIQE. Means over
different images compare nothing, so that an image counts for no method if one of them has no value
for it. What has no value for any image has no figure, and takes none from the others.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ranksrgan.pipeline.reproduction.columns import EXTRA_COLUMNS, JUDGE_COLUMN, PICTURE_COLUMNS
from ranksrgan.pipeline.reproduction.config import BOUND
from ranksrgan.pipeline.reproduction.plan import DATASET, JUDGE, Plan
from ranksrgan.pipeline.reproduction.units import Unit
from ranksrgan.pipeline.reproduction.verdicts import Figure, Figures, gap
from ranksrgan.rankdata import RankDataset, upper_bounds


@dataclass(frozen=True)
class Pictures:
    """The evaluation of a method, of one seed, on a test set; of a reference the seed is None."""

    test_set: str
    method: str
    seed: int | None
    unit: Unit
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Series:
    """One score of every image, of a method and a seed on a test set.

    Attributes:
        test_set, method: a row of the table.
        column: its name there.
        seed: None where no seed has a part in it.
        scores: by image; None where there is no value. Empty where the score was not asked for.
    """

    test_set: str
    method: str
    column: str
    seed: int | None
    scores: Mapping[str, float | None]

    @property
    def label(self) -> str:
        return self.method if self.seed is None else f"{self.method}, seed {self.seed}"

    @property
    def there(self) -> frozenset[str]:
        """The images that have a value."""
        return frozenset(image for image, score in self.scores.items() if score is not None)

    def mean(self, images: AbstractSet[str]) -> float | None:
        """Over those of these images that have a value; None if none has."""
        found = [s for image, s in self.scores.items() if s is not None and image in images]
        return statistics.fmean(found) if found else None


def pictures_of(plan: Plan, runs: Path) -> Iterator[Pictures]:
    """All evaluations of an experiment.

    Raises:
        InvalidInput: a unit is not finished, or its result is damaged.
    """
    of_methods = [(name, seed, unit) for (name, seed), unit in plan.evaluations.items()]
    references = [(name, None, unit) for name, unit in plan.references.items()]
    for name, seed, unit in [*references, *of_methods]:
        for test_set, rows in unit.result(runs)["sets"].items():
            yield Pictures(test_set, name, seed, unit, rows)


def series_of(plan: Plan, pictures: Sequence[Pictures], runs: Path) -> list[Series]:
    """The scores of all rows of test sets, in the order of the pictures, then the bounds'."""
    found = []
    for at in pictures:
        for name, column in {**PICTURE_COLUMNS, **EXTRA_COLUMNS}.items():
            found.append(_series(at, column.name, at.seed, name))
        if plan.experiment.judge is not None:
            for seed in plan.seeds if at.seed is None else (at.seed,):
                found.append(_series(at, JUDGE_COLUMN.name, seed, f"{JUDGE}{seed}"))
    return [*found, *_bounds(plan, pictures, runs)]


def _series(at: Pictures, column: str, seed: int | None, name: str) -> Series:
    scores = {row["image"]: row["scores"][name] for row in at.rows if name in row["scores"]}
    return Series(at.test_set, at.method, column, seed, scores)


def _bounds(plan: Plan, pictures: Sequence[Pictures], runs: Path) -> Iterator[Series]:
    """The bound of each image; rank data leaves out those for which a teacher has no value."""
    for test_set, unit in plan.bounds.items():
        dataset = RankDataset.open(runs / unit.name / DATASET)
        scores: dict[str, float | None] = {
            row["image"]: None for at in pictures if at.test_set == test_set for row in at.rows
        }
        for content in dataset.contents:
            *_, bound = upper_bounds(replace(dataset, contents=(content,)))  # of all levels
            scores[content.source] = bound.bound
        yield Series(test_set, BOUND, PICTURE_COLUMNS["niqe"].name, None, scores)


def picture_figures(series: Iterable[Series]) -> dict[tuple[str, str, str], Figure]:
    """A figure for each test set, method and column, with the seeds that have no value."""
    found: dict[tuple[str, str, str], list[tuple[int | None, float | None]]] = {}
    for several in _compared(series):
        images = _common(several)
        for one in several:
            key = one.test_set, one.method, one.column
            found.setdefault(key, []).append((one.seed, one.mean(images)))
    return {key: _figure(means) for key, means in found.items()}


def _figure(means: Sequence[tuple[int | None, float | None]]) -> Figure:
    return Figure(
        values=tuple(mean for _, mean in means if mean is not None),
        fixed=all(seed is None for seed, _ in means),
        without=tuple(seed for seed, mean in means if mean is None and seed is not None),
    )


def gap_notes(series: Iterable[Series]) -> Iterator[str]:
    """A paragraph for each column in which images have no value: how many, of what."""
    gaps: dict[str, list[str]] = {}
    for several in _compared(series):
        asked = [one for one in several if one.scores]
        missing = {one.label: frozenset(one.scores) - one.there for one in asked}
        if not any(missing.values()):
            continue
        total = frozenset().union(*(one.scores for one in asked))
        alike = len(set(missing.values())) == 1
        of = {"each": next(iter(missing.values()))} if alike else missing
        counts = "; ".join(f"{len(images)} of {label}" for label, images in of.items() if images)
        left = f"{several[0].test_set} {len(_common(several))} of {len(total)} (missing {counts})"
        gaps.setdefault(several[0].column, []).append(left)
    for column, parts in gaps.items():
        yield (
            f"{column} has no value for some images. Its means are over those for which all that "
            f"have any value have one: {', '.join(parts)}."
        )


def seed_note(figures: Figures) -> Iterator[str]:
    """A paragraph on the means that are of fewer seeds than the others, if there are any."""
    parts = [
        f"{group}, {column} {gap(row, figure)}"
        for (group, row, column), figure in figures.items()
        if figure.values and figure.without
    ]
    if parts:
        yield f"Seeds without a figure, whose means are of the others: {'; '.join(parts)}."


def _compared(series: Iterable[Series]) -> Iterator[list[Series]]:
    """Those of one column and test set."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        groups.setdefault((one.column, one.test_set), []).append(one)
    yield from groups.values()


def _common(several: Sequence[Series]) -> frozenset[str]:
    """The images that have a value in all series that have any."""
    return frozenset.intersection(*([one.there for one in several if one.there] or [frozenset()]))
