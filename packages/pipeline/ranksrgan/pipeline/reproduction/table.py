"""``table.csv``: the figures of an experiment with everything that has to be said about them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.pipeline.reproduction.findings import Cell, Findings

TABLE_FILE = "table.csv"


def write_table(folder: Path, findings: Findings) -> Path:
    """Write ``table.csv``: lines with ``#`` say the claim and the answers, then comes the table.

    Each figure has its mean and, in the column ``... spread``, the sample standard deviation over
    the seeds.
    """
    text = io.StringIO()
    for line in _about(findings):
        text.write(f"# {line}\n")
    writer = csv.writer(text, lineterminator="\n")
    columns = findings.table.columns
    head = [name for column in columns for name in (_name(column.name, column.unit), "spread")]
    named = [f"{head[i - 1]} spread" if name == "spread" else name for i, name in enumerate(head)]
    writer.writerow(["scale", "on", "method", *named])
    for row in findings.table.rows:
        cells = [
            text
            for cell, column in zip(row.cells, columns, strict=True)
            for text in _cell(cell, column.digits)
        ]
        writer.writerow([findings.scale, row.group, row.method, *cells])
    path = folder / TABLE_FILE
    atomic.write_text(path, text.getvalue())
    return path


def as_text(findings: Findings) -> str:
    """The table and the answers for a terminal."""
    columns = findings.table.columns
    shown = [
        i for i in range(len(columns)) if any(row.cells[i].count for row in findings.table.rows)
    ]
    lines = [["", *(_name(columns[i].name, columns[i].unit) for i in shown)]]
    group = None
    for row in findings.table.rows:
        if row.group != group:
            group = row.group
            lines.append([group, *([""] * len(shown))])
        cells = (_both(row.cells[i], columns[i].digits) for i in shown)
        lines.append([f"  {row.method}", *cells])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    answers = [f"{verdict.answer}: {verdict.text}" for verdict in findings.verdicts]
    head = f"{findings.title} ({findings.scale})"
    return "\n".join([head, findings.claim, "", *table, "", *answers, *findings.notes])


def _about(findings: Findings) -> list[str]:
    return [
        f"{findings.title}. Scale {findings.scale}.",
        findings.claim,
        *(f"{verdict.answer}: {verdict.text}" for verdict in findings.verdicts),
        *findings.notes,
    ]


def _cell(cell: Cell, digits: int) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]
        "" if value is None else f"{value:.{digits}f}" for value in (cell.mean, cell.spread)
    )


def _both(cell: Cell, digits: int) -> str:
    mean, spread = _cell(cell, digits)
    return f"{mean} ± {spread}" if spread else mean or "-"


def _name(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name
