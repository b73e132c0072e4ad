"""The tables of a page: figures with spread and the best marked, and the images one by one."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ranksrgan.pipeline.reproduction.charts import DIGITS, minus
from ranksrgan.pipeline.reproduction.findings import Cell, Column, Findings, Row, Table

NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Shown:
    """A cell as it is read."""

    text: str
    spread: str = ""
    note: str = ""
    best: bool = False
    value: float | None = None


@dataclass(frozen=True)
class ShownRow:
    """A row as it is read; ``keys`` are its texts before the cells."""

    keys: tuple[str, ...]
    cells: tuple[Shown, ...]
    reference: bool = False


@dataclass(frozen=True)
class ShownTable:
    """Headings, and the rows by group; images have one group.

    ``spreads`` says of each heading whether any of its cells has a spread, which gets a column of
    its own so that the means stand one below the other.
    """

    keys: tuple[str, ...]
    headings: tuple[str, ...]
    spreads: tuple[bool, ...]
    groups: tuple[tuple[str, tuple[ShownRow, ...]], ...]

    @property
    def count(self) -> int:
        return sum(len(rows) for _, rows in self.groups)

    @property
    def has_references(self) -> bool:
        return any(row.reference for _, rows in self.groups for row in rows)


def arrow(higher_is_better: bool | None) -> str:
    """Which way is better, behind the name of a metric."""
    return "" if higher_is_better is None else " ↑" if higher_is_better else " ↓"


def summary_tables(table: Table, seeds: int) -> list[ShownTable]:
    """The table of the claim; in each group the best of a column, as it is displayed, is marked.

    Groups that have no column in common, such as Rankers and test sets, are tables of their own,
    without the columns in which they have no figure.
    """
    parts: list[tuple[set[int], list[tuple[str, list[Row]]]]] = []
    for name, rows in groupby(table.rows, lambda row: row.group):
        there = list(rows)
        columns = {i for row in there for i, cell in enumerate(row.cells) if cell.mean is not None}
        if parts and (columns & parts[-1][0] or not columns):
            parts[-1][0].update(columns)
        else:
            parts.append((columns, []))
        parts[-1][1].append((name, there))
    return [_part(table.columns, sorted(columns), groups, seeds) for columns, groups in parts]


def _part(
    columns: Sequence[Column],
    places: Sequence[int],
    groups: list[tuple[str, list[Row]]],
    seeds: int,
) -> ShownTable:
    shown = []
    for name, rows in groups:
        best = [best_of(rows, i, columns[i]) for i in places]
        shown.append((name, tuple(_row(row, columns, places, best, seeds) for row in rows)))
    spreads = tuple(
        any(row.cells[i].spread is not None for _, rows in groups for row in rows) for i in places
    )
    return ShownTable(
        ("Method",), tuple(_heading(columns[i]) for i in places), spreads, tuple(shown)
    )


def best_of(rows: Sequence[Row], place: int, column: Column) -> float | None:
    """The best mean of a column, to its digits; None where fewer than two methods compete."""
    means = [
        round(mean, column.digits)
        for row in rows
        if not row.reference and (mean := row.cells[place].mean) is not None
    ]
    if column.higher_is_better is None or len(means) < 2:
        return None
    return max(means) if column.higher_is_better else min(means)


def image_table(findings: Findings) -> ShownTable:
    """A row for each picture. Columns are the table's as far as images have them, then others."""
    columns = _image_columns(findings)
    many = any(row.seed is not None for row in findings.images)
    keys = ("Test set", "Image", "Method", *(("Seed",) if many else ()))
    rows = tuple(
        ShownRow(
            (
                *(row.test_set, row.image, row.method),
                *(((NOTHING if row.seed is None else str(row.seed)),) if many else ()),
            ),
            tuple(_plain(row.scores.get(column.name), column) for column in columns),
        )
        for row in findings.images
    )
    headings = tuple(map(_heading, columns))
    return ShownTable(keys, headings, (False,) * len(headings), (("", rows),))


def images_csv(findings: Findings) -> str:
    """The same with all digits, as comma-separated values."""
    names = [column.name for column in _image_columns(findings)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["test_set", "image", "method", "seed", *names])
    for row in findings.images:
        scores = [row.scores.get(name) for name in names]
        writer.writerow([row.test_set, row.image, row.method, row.seed, *scores])
    return out.getvalue()


def _image_columns(findings: Findings) -> list[Column]:
    there = dict.fromkeys(name for row in findings.images for name in row.scores)
    known = [column for column in findings.table.columns if column.name in there]
    others = [name for name in there if name not in {column.name for column in known}]
    return [*known, *(Column(name, None, DIGITS) for name in others)]


def _heading(column: Column) -> str:
    unit = f" ({column.unit})" if column.unit else ""
    return f"{column.name}{unit}{arrow(column.higher_is_better)}"


def _row(
    row: Row,
    columns: Sequence[Column],
    places: Sequence[int],
    best: Sequence[float | None],
    seeds: int,
) -> ShownRow:
    cells = tuple(
        _cell(row.cells[i], columns[i], None if row.reference else first, seeds)
        for i, first in zip(places, best, strict=True)
    )
    return ShownRow((row.method,), cells, row.reference)


def _cell(cell: Cell, column: Column, best: float | None, seeds: int) -> Shown:
    if cell.mean is None:
        return Shown(NOTHING)
    text = minus(f"{cell.mean:.{column.digits}f}")
    if cell.spread is None:
        return Shown(text, best=round(cell.mean, column.digits) == best, value=cell.mean)
    note = "" if cell.count == seeds else f"{cell.count} seeds"
    first = round(cell.mean, column.digits) == best
    return Shown(text, f"{cell.spread:.{column.digits}f}", note, first, cell.mean)


def _plain(value: float | None, column: Column) -> Shown:
    return (
        Shown(NOTHING) if value is None else Shown(minus(f"{value:.{column.digits}f}"), value=value)
    )
