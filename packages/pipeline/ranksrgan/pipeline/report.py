"""``report.html``: one page with the table, side-by-side crops and curves; needs no other file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ranksrgan.contracts import atomic
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.images import Picture, encode_image

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ccc; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.crops { display: flex; flex-wrap: wrap; gap: .6rem; margin: .5rem 0 1.5rem; }
figure { margin: 0; } figcaption { font-size: 14px; }
figure img { image-rendering: pixelated; display: block; }
.verdict { font-size: 1.15rem; padding: .6rem 1rem; border-left: 4px solid #2a6; }
.verdict.no { border-color: #c33; }
"""


@dataclass(frozen=True)
class Crop:
    """One small picture of a row, with what stands under it."""

    title: str
    caption: str
    picture: Picture


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Report:
    """What the page says, in order.

    Attributes:
        title: of the page.
        verdict: the sentence that the run is about, and whether it came out as hoped.
        columns: of the table, the first being the method.
        rows: of the table; the first cell is the method's name.
        notes: paragraphs below the table.
        crops: one row of crops for each photograph, by name.
        plots: curves by the title of their plot.
    """

    title: str
    verdict: tuple[str, bool]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    crops: Mapping[str, Sequence[Crop]]
    plots: Mapping[str, Sequence[Curve]]


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all."""
    say = html.escape
    sentence, hoped = report.verdict
    head = "".join(f"<th>{say(cell)}</th>" for cell in report.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{say(cell)}</td>" for cell in row) + "</tr>" for row in report.rows
    )
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{say(report.title)}</title>',
        f"<style>{_STYLE}</style><h1>{say(report.title)}</h1>",
        f'<p class="verdict{"" if hoped else " no"}">{say(sentence)}</p>',
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        *(f"<p>{say(note)}</p>" for note in report.notes),
        "<h2>Side by side</h2>",
    ]
    for name, crops in report.crops.items():
        parts.append(f'<h3>{say(name)}</h3><div class="crops">')
        for crop in crops:
            data = encode_image(crop.picture)
            parts.append(
                f'<figure><img alt="{say(f"{name}: {crop.title}")}" src="{_inline(data)}" '
                f'width="{2 * crop.picture.width}"><figcaption><b>{say(crop.title)}</b><br>'
                f"{say(crop.caption)}</figcaption></figure>"
            )
        parts.append("</div>")
    parts.append("<h2>Curves</h2>")
    parts += [
        f'<img alt="{say(title)}" src="{_inline(_plot(title, curves))}">'
        for title, curves in report.plots.items()
    ]
    atomic.write_text(path, "\n".join(parts) + "</html>\n")


def read_series(path: Path, column: str, label: str) -> Curve:
    """A column of a training's ``curves.csv`` or ``validation.csv``, where it has a value."""
    rows = [row for row in read_curve(path) if row[column]]
    return Curve(label, [float(row["step"]) for row in rows], [float(row[column]) for row in rows])


def sharpest_box(image: Picture, side: int) -> tuple[int, int]:
    """Top and left of the ``side`` x ``side`` square with the largest local contrast."""
    grey = image.colour.astype(np.float64).mean(axis=2)
    slopes = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    sums = np.pad(slopes, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return int(top), int(left)


def crop_picture(picture: Picture, box: tuple[int, int], side: int) -> Picture:
    """The square of that side whose top left corner is ``box``."""
    top, left = box
    return Picture(picture.colour[top : top + side, left : left + side])


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _plot(title: str, curves: Sequence[Curve]) -> bytes:
    from matplotlib.figure import Figure  # slow to import, and only the report needs it

    figure = Figure(figsize=(6, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot(curve.steps, curve.values, marker=".", label=curve.label)
    axes.set(title=title, xlabel="step")
    axes.grid(alpha=0.3)
    axes.legend()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
