"""Charts as SVG: lines with a band, histograms one below the other, and a scatter.

Each is drawn for a width of `WIDTH` and scales with the page. Colours and dashes are classes
(``c0`` to ``c7``, ``control``) that the page's style sheet fills in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from ranksrgan.pipeline.reproduction.findings import Histogram, Scatter

WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 12, 44

#: Colours that the style sheet has; a chart with more labels repeats them.
COLOURS = 8

#: Digits behind the point of a metric that is no column of the table.
DIGITS = 3

#: Points that a scatter draws; of more, evenly chosen ones.
MOST_POINTS = 3000

#: Checkpoints up to which every one has a dot that is easy to see.
MOST_DOTS = 30

# Shapes of a scatter's points, since colours are lost in a black and white print.
_SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m-3.4 2.6l3.4-5.9l3.4 5.9z",
    "m0-3.8l3.8 3.8l-3.8 3.8l-3.8-3.8z",
    "m-3.4-2.6l3.4 5.9l3.4-5.9z",
)


@dataclass(frozen=True)
class Line:
    """A method's mean over the seeds at each step where all of them have a value.

    Attributes:
        label: the method.
        control: whether it is what the others are compared with.
        seeds: how many there are.
        steps: in ascending order.
        mean: one for each step.
        spread: sample standard deviation for each step; 0 with one seed.
    """

    label: str
    control: bool
    seeds: int
    steps: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]

    def read(self, place: int, digits: int) -> str:
        """The value at a step as it is read out, with its spread if there are several seeds."""
        spread = f" ± {self.spread[place]:.{digits}f}" if self.seeds > 1 else ""
        return minus(f"{self.mean[place]:.{digits}f}") + spread


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def axis_of(values: Iterable[float], start: float, end: float, room: float = 0.04) -> Axis:
    """An axis with all values on it and some room beyond; a lone value comes to its middle."""
    there = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(there), max(there)
    beyond = (high - low) * room if high > low else 0.5
    return Axis(low - beyond, high + beyond, start, end)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within the bounds, ``most`` + 1 at most."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(times for times in (1, 2, 5, 10) if times * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_labels(places: Sequence[float]) -> list[str]:
    """As many digits as the distance of the ticks needs; thousands as k."""
    if not places:
        return []
    step = places[1] - places[0] if len(places) > 1 else abs(places[0]) or 1.0
    unit, suffix = (1e3, "k") if max(map(abs, places)) >= 1e4 and step >= 100 else (1.0, "")
    digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    return [
        "0" if value == 0 else minus(f"{value / unit:.{digits}f}{suffix}")
        for value in (0.0 if abs(place) < step * 1e-6 else place for place in places)
    ]


def minus(number: str) -> str:
    """A number with the sign that is as wide as a digit."""
    return number.replace("-", "\N{MINUS SIGN}")


def choose_colours(labels: Sequence[str], known: Mapping[str, int] | None = None) -> dict[str, int]:
    """A colour's number for each label; those that are known keep theirs."""
    found = {label: known[label] for label in labels if known and label in known}
    free = [number for number in range(COLOURS) if number not in found.values()]
    others = [label for label in dict.fromkeys(labels) if label not in found]
    numbers = free or list(range(COLOURS))
    return found | {label: numbers[i % len(numbers)] for i, label in enumerate(others)}


def swatch(colour: int, control: bool = False) -> Markup:
    """The sample of a line that stands in a legend."""
    kind = "control" if control else f"c{colour}"
    line = _tag("path", d="M1 6h22", class_=f"line {kind}")
    return _tag("svg", line, class_="swatch", viewBox="0 0 24 12", aria_hidden="true")


def line_chart(
    lines: Sequence[Line], metric: str, digits: int, colours: Mapping[str, int]
) -> Markup:
    """Lines over the steps, each with a band of its spread to both sides where it has any.

    Args:
        lines: the control among them, which is grey and dashed.
        metric: of the values, for those who do not see the chart; its title stands above.
        digits: behind the point, of the values that are read out.
        colours: see `choose_colours`.
    """
    lows = [m - s for line in lines for m, s in zip(line.mean, line.spread, strict=True)]
    highs = [m + s for line in lines for m, s in zip(line.mean, line.spread, strict=True)]
    x = axis_of((step for line in lines for step in line.steps), LEFT, WIDTH - RIGHT, 0.02)
    y = axis_of([*lows, *highs], HEIGHT - BOTTOM, TOP)
    drawn = [_frame(x, y, "step", "")]
    ordered = sorted(lines, key=lambda line: not line.control)  # the control below the others
    for line in ordered:
        if any(line.spread):
            drawn.append(_tag("path", d=_band(line, x, y), class_=f"band {_kind(line, colours)}"))
    for line in ordered:
        places = [
            (x.place(step), y.place(value))
            for step, value in zip(line.steps, line.mean, strict=True)
        ]
        path = "M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in places)
        marks = [_tag("path", d=path, class_="line")]
        radius = 2.8 if len(places) <= MOST_DOTS else 1.4
        for place, (step, (across, down)) in enumerate(zip(line.steps, places, strict=True)):
            read = line.read(place, digits)
            title = _tag("title", f"{line.label}, step {step:,.0f}: {read}")
            dot = {"cx": f"{across:.1f}", "cy": f"{down:.1f}", "r": f"{radius}"}
            marks.append(_tag("circle", title, **dot, data_step=f"{step:.15g}", data_read=read))
        drawn.append(_tag("g", *marks, class_=_kind(line, colours), data_line=line.label))
    drawn.append(
        _tag("path", d=f"M0 {TOP}V{HEIGHT - BOTTOM}", class_="cursor", visibility="hidden")
    )
    return _svg("lines", f"{metric} over the steps: {', '.join(i.label for i in lines)}", *drawn)


def histogram_chart(histogram: Histogram, colours: Mapping[str, int]) -> Markup:
    """A row of bars for each level over one axis of scores, all with the same scale of counts."""
    row, gap = 50, 18
    bottom = TOP + row * len(histogram.levels)
    left, right = RIGHT, WIDTH - RIGHT
    x = axis_of(histogram.edges, left, right, 0)
    most = max((max(level.counts, default=0) for level in histogram.levels), default=0) or 1
    drawn = _across(x, TOP, bottom, histogram.score)
    for place, level in enumerate(histogram.levels):
        floor = TOP + row * (place + 1)
        bars = []
        for count, low, high in zip(
            level.counts, histogram.edges[:-1], histogram.edges[1:], strict=True
        ):
            if not count:
                continue
            start, height = x.place(low), count / most * (row - gap)
            title = _tag("title", f"{level.level}: {count} from {low:.4g} to {high:.4g}")
            bars.append(
                _tag(
                    "rect", title, x=f"{start + 0.4:.1f}", y=f"{floor - height:.1f}",
                    width=f"{max(0.6, x.place(high) - start - 0.8):.1f}", height=f"{height:.1f}",
                )
            )  # fmt: skip
        name = _tag("text", level.level, x=left, y=floor - row + 14, class_="name")
        images = f"n = {sum(level.counts):,}"
        total = _tag("text", images, x=right, y=floor - row + 14, class_="right")
        base = _tag("path", d=f"M{left} {floor}H{right}", class_="axis")
        drawn.append(_tag("g", name, total, *bars, base, class_=f"bars c{colours[level.level]}"))
    levels = ", ".join(level.level for level in histogram.levels)
    return _svg("histogram", f"{histogram.title}: {levels}", *drawn, height=bottom + BOTTOM)


def scatter_chart(scatter: Scatter, colours: Mapping[str, int]) -> Markup:
    """Points, each group with a colour and a shape of its own."""
    height = 300
    x = axis_of(scatter.x, LEFT, WIDTH - RIGHT)
    y = axis_of(scatter.y, height - BOTTOM, TOP)
    drawn = [_frame(x, y, scatter.x_label, scatter.y_label, height)]
    shown = evenly(len(scatter.x), MOST_POINTS)
    for number, group in enumerate(dict.fromkeys(scatter.groups)):
        places = [
            f"M{x.place(scatter.x[i]):.1f} {y.place(scatter.y[i]):.1f}{shape(number)}"
            for i in shown
            if scatter.groups[i] == group
        ]
        drawn.append(_tag("path", d="".join(places), class_=f"points c{colours[group]}"))
    return _svg("scatter", scatter.title, *drawn, height=height)


def point_swatch(number: int, colour: int) -> Markup:
    """The sample of a scatter's group that stands in a legend."""
    point = _tag("path", d=f"M12 6{shape(number)}", class_=f"points c{colour}")
    return _tag("svg", point, class_="swatch", viewBox="0 0 24 12", aria_hidden="true")


def shape(number: int) -> str:
    """The path of a point of the group with that number, from its middle."""
    return _SHAPES[number % len(_SHAPES)]


def evenly(count: int, most: int) -> list[int]:
    """Up to ``most`` of the numbers below ``count``, at even distances."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def _kind(line: Line, colours: Mapping[str, int]) -> str:
    return "control" if line.control else f"c{colours[line.label]}"


def _band(line: Line, x: Axis, y: Axis) -> str:
    points = list(zip(line.steps, line.mean, line.spread, strict=True))
    upper = [(step, mean + spread) for step, mean, spread in points]
    lower = [(step, mean - spread) for step, mean, spread in reversed(points)]
    return "M" + "L".join(f"{x.place(a):.1f} {y.place(b):.1f}" for a, b in (*upper, *lower)) + "Z"


def _frame(x: Axis, y: Axis, x_label: str, y_label: str, height: int = HEIGHT) -> Markup:
    """Grid, ticks and the names of the axes that have one."""
    drawn = _across(x, TOP, height - BOTTOM, x_label)
    places = ticks(y.low, y.high)
    for value, label in zip(places, tick_labels(places), strict=True):
        down = y.place(value)
        drawn.append(_tag("path", d=f"M{LEFT} {down:.1f}H{WIDTH - RIGHT}", class_="grid"))
        drawn.append(_tag("text", label, x=LEFT - 8, y=f"{down + 4.5:.1f}", class_="right"))
    if y_label:
        middle = f"{(TOP + height - BOTTOM) / 2:g}"
        turn = f"rotate(-90 12 {middle})"
        drawn.append(_tag("text", y_label, x=12, y=middle, class_="middle", transform=turn))
    drawn.append(_tag("path", d=f"M{LEFT} {height - BOTTOM}H{WIDTH - RIGHT}", class_="axis"))
    return _tag("g", *drawn)


def _across(x: Axis, top: float, bottom: float, label: str) -> list[Markup]:
    """The lines, numbers and the name of the axis below."""
    drawn = []
    places = ticks(x.low, x.high)
    for value, text in zip(places, tick_labels(places), strict=True):
        across = f"{x.place(value):.1f}"
        drawn.append(_tag("path", d=f"M{across} {top}V{bottom}", class_="grid"))
        drawn.append(_tag("text", text, x=across, y=bottom + 18, class_="middle"))
    middle = (x.start + x.end) / 2
    drawn.append(_tag("text", label, x=f"{middle:g}", y=bottom + 37, class_="middle"))
    return drawn


def _svg(kind: str, told: str, *drawn: Markup, height: int = HEIGHT) -> Markup:
    box = f"0 0 {WIDTH} {height}"
    return _tag("svg", *drawn, class_=f"chart {kind}", viewBox=box, role="img", aria_label=told)


def _tag(name: str, *content: str | Markup, **attributes: object) -> Markup:
    """An element; text and attributes are escaped, a name's underscores are hyphens."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(escape(part) for part in content)}</{name}>")
