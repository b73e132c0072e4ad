"""``report.html``: an experiment's findings as one page that needs no other file.

Charts are SVG, pictures are within the page, and its Content-Security-Policy lets it load nothing.
Without JavaScript all is there but zoom, slider, the read-out of charts and sorting.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ranksrgan.contracts import atomic
from ranksrgan.pipeline.reproduction.charts import (
    DIGITS,
    MOST_POINTS,
    Line,
    choose_colours,
    histogram_chart,
    line_chart,
    minus,
    point_swatch,
    scatter_chart,
    swatch,
)
from ranksrgan.pipeline.reproduction.findings import Curve, Findings, Histogram, Scatter
from ranksrgan.pipeline.reproduction.page_pictures import Gallery, make_gallery
from ranksrgan.pipeline.reproduction.page_tables import (
    arrow,
    image_table,
    images_csv,
    summary_tables,
)

#: What a page may have in bytes; pictures are packed harder, then left out, to keep to it.
MOST_BYTES = 6_000_000

_PAGES = Environment(
    loader=PackageLoader("ranksrgan.pipeline.reproduction"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Sample:
    """A row of a chart's legend.

    Attributes:
        line: what the chart calls it.
        label: what the reader is told.
        swatch: of its colour.
        value: at the last step, of a line.
    """

    line: str
    label: str
    swatch: Markup
    value: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart with what stands around it."""

    title: str
    svg: Markup
    legend: tuple[Sample, ...] = ()
    note: str = ""


def write_page(findings: Findings, path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Write the page, whole or not at all. Parts without findings are left out.

    Args:
        findings: paths of crops are relative to the folder of ``path``.
        path: of the HTML file.
        most_bytes: its size; without its pictures a page may be larger, with them it is not.

    Raises:
        InvalidInput: a crop lies outside that folder, or crops of one image differ in size.
        InvalidImage: a crop is missing or damaged.
    """
    text = _render(findings, Gallery())
    if findings.crops:
        room = most_bytes - len(text.encode())
        text = _render(findings, make_gallery(findings, path.parent, room))
    atomic.write_text(path, text)


def mean_over_seeds(curves: Sequence[Curve]) -> dict[str, list[Line]]:
    """The lines of each metric's chart, at the steps where all seeds of a method have a value."""
    methods: dict[str, dict[str, list[Curve]]] = {}
    for curve in curves:
        methods.setdefault(curve.metric, {}).setdefault(curve.method, []).append(curve)
    charts = {
        metric: [line for name, seeds in found.items() if (line := _line(name, seeds)).steps]
        for metric, found in methods.items()
    }
    return {metric: lines for metric, lines in charts.items() if lines}


def _line(method: str, seeds: Sequence[Curve]) -> Line:
    values = [dict(zip(curve.steps, curve.values, strict=True)) for curve in seeds]
    steps = tuple(sorted(set.intersection(*(set(found) for found in values))))
    at = [[found[step] for found in values] for step in steps]
    mean = tuple(statistics.fmean(row) for row in at)
    spread = tuple(statistics.stdev(row) if len(row) > 1 else 0.0 for row in at)
    return Line(method, any(curve.control for curve in seeds), len(seeds), steps, mean, spread)


def _render(findings: Findings, gallery: Gallery) -> str:
    lines = mean_over_seeds(findings.curves)
    methods = choose_colours(
        [line.label for one in lines.values() for line in one if not line.control]
    )
    pages = files("ranksrgan.pipeline")
    templates = pages / "reproduction" / "templates"
    style = (templates / "report.css").read_text(encoding="utf-8")
    # The views of the web page's comparison; together with what connects them it is one module.
    script = "\n".join(
        part.read_text(encoding="utf-8")
        for part in (pages / "web" / "pages" / "view.js", templates / "report.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    csv = base64.b64encode(images_csv(findings).encode()).decode("ascii")
    return _PAGES.get_template("report.html").render(
        findings=findings,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        tables=summary_tables(findings.table, len(findings.seeds)),
        curves=[_curves_chart(findings, metric, lines[metric], methods) for metric in lines],
        gallery=gallery,
        ranker=[
            *(_scatter(one, methods) for one in findings.scatters),
            *(_histogram(one, methods) for one in findings.histograms),
        ],
        images=image_table(findings),
        csv=Markup("data:text/csv;charset=utf-8;base64," + csv),
    )


def _curves_chart(
    findings: Findings, metric: str, lines: Sequence[Line], methods: Mapping[str, int]
) -> Chart:
    column = next((found for found in findings.table.columns if found.name == metric), None)
    better = next(curve.higher_is_better for curve in findings.curves if curve.metric == metric)
    digits = column.digits if column else DIGITS
    unit = f" ({column.unit})" if column and column.unit else ""
    legend = tuple(
        Sample(
            line.label,
            line.label + (" (control)" if line.control else ""),
            swatch(methods.get(line.label, 0), line.control),
            line.read(-1, digits),
        )
        for line in lines
    )
    title = f"{metric}{unit}{arrow(better)}"
    return Chart(title, line_chart(lines, metric, digits, methods), legend)


def _histogram(histogram: Histogram, methods: Mapping[str, int]) -> Chart:
    colours = choose_colours([level.level for level in histogram.levels], methods)
    return Chart(histogram.title, histogram_chart(histogram, colours))


def _scatter(scatter: Scatter, methods: Mapping[str, int]) -> Chart:
    groups = list(dict.fromkeys(scatter.groups))
    colours = choose_colours(groups, methods)
    legend = tuple(
        Sample(group, group, point_swatch(number, colours[group]))
        for number, group in enumerate(groups)
    )
    count = len(scatter.x)
    drawn = f"{MOST_POINTS:,} of {count:,} points" if count > MOST_POINTS else f"{count:,} points"
    agreed = "no SROCC" if scatter.srocc is None else f"SROCC {minus(f'{scatter.srocc:.3f}')}"
    return Chart(scatter.title, scatter_chart(scatter, colours), legend, f"{agreed}; {drawn}")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
