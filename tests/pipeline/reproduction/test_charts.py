from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from ranksrgan.pipeline.reproduction.charts import (
    COLOURS,
    Line,
    choose_colours,
    evenly,
    histogram_chart,
    line_chart,
    scatter_chart,
    tick_labels,
    ticks,
)
from ranksrgan.pipeline.reproduction.findings import Histogram, LevelCounts, Scatter

MINUS = "\N{MINUS SIGN}"


class Drawn:
    """An SVG picture, read as a reader does: by the numbers along its axes."""

    def __init__(self, svg: Markup) -> None:
        self.root = ElementTree.fromstring(svg)
        texts = [(text.get("class"), text.text or "", text) for text in self.root.iter("text")]
        number = re.compile(rf"{MINUS}?[\d.]+$")
        self._across = [
            (_number(text), float(at.get("x", "")))
            for kind, text, at in texts
            if kind == "middle" and number.match(text)
        ]
        self._down = [
            (_number(text), float(at.get("y", "")) - 4.5)  # half the height of a digit
            for kind, text, at in texts
            if kind == "right" and number.match(text)
        ]

    def x(self, place: float) -> float:
        return _between(self._across, place)

    def y(self, place: float) -> float:
        return _between(self._down, place)

    def all(self, name: str, kind: str) -> list[ElementTree.Element]:
        return [found for found in self.root.iter(name) if kind in found.get("class", "").split()]

    def points(self, path: ElementTree.Element) -> list[tuple[float, float]]:
        """What the path goes through, as values."""
        corners = re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))
        return [(self.x(float(across)), self.y(float(down))) for across, down in corners]


def _number(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def _between(known: list[tuple[float, float]], place: float) -> float:
    (first, start), (last, end) = known[0], known[-1]
    return first + (place - start) / (end - start) * (last - first)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-0.31, 0.22, ["-0.3", "-0.2", "-0.1", "0", "0.1", "0.2"]),
        (3.41, 4.62, ["3.5", "4.0", "4.5"]),
        (0, 20_000, ["0", "5k", "10k", "15k", "20k"]),
        (9_800, 12_300, ["10.0k", "10.5k", "11.0k", "11.5k", "12.0k"]),
        (999_900, 1_000_000, ["999900", "999920", "999940", "999960", "999980", "1000000"]),
        (0.1612, 0.1698, ["0.162", "0.164", "0.166", "0.168"]),
    ],
)
def test_ticks_are_round_and_told_to_their_distance(
    low: float, high: float, labels: list[str]
) -> None:
    assert tick_labels(ticks(low, high)) == [label.replace("-", MINUS) for label in labels]


def test_lines_and_bands_are_where_the_axes_say() -> None:
    ours = Line("ours", False, 3, (0.0, 500.0, 1000.0), (4.0, 3.0, -2.5), (0.0, 0.5, 0.25))
    control = Line("<control>", True, 3, (0.0, 1000.0), (4.0, 3.75), (0.0, 0.0))
    drawn = Drawn(line_chart([ours, control], "NIQE", 2, {"ours": 4}))
    groups = {group.get("data-line"): group for group in drawn.root.iter("g")}

    (path,) = groups["ours"].iter("path")
    assert [x for x, _ in drawn.points(path)] == pytest.approx([0, 500, 1000], abs=0.5)
    ys = [y for _, y in drawn.points(path)]
    assert ys == pytest.approx([4.0, 3.0, -2.5], abs=0.02)
    dots = list(groups["ours"].iter("circle"))
    assert [drawn.y(float(dot.get("cy", ""))) for dot in dots] == pytest.approx(ys, abs=0.02)
    assert [dot.get("data-step") for dot in dots] == ["0", "500", "1000"]
    assert [dot.get("data-read") for dot in dots] == [
        "4.00 ± 0.00",
        "3.00 ± 0.50",
        f"{MINUS}2.50 ± 0.25",
    ]
    assert dots[2][0].text == f"ours, step 1,000: {MINUS}2.50 ± 0.25"

    (band,) = drawn.all("path", "band")
    corners = [y for _, y in drawn.points(band)]
    assert corners == pytest.approx([4.0, 3.5, -2.25, -2.75, 2.5, 4.0], abs=0.02)
    assert groups["ours"].get("class") == "c4"
    assert groups["<control>"].get("class") == "control"


def test_one_value_is_drawn_in_the_middle_of_its_axes() -> None:
    line = Line("a", False, 1, (7.0,), (3.0,), (0.0,))
    drawn = Drawn(line_chart([line], "NIQE", 1, {"a": 0}))
    (dot,) = drawn.root.iter("circle")
    assert dot.get("data-read") == "3.0"
    assert drawn.x(float(dot.get("cx", ""))) == pytest.approx(7, abs=0.01)
    assert drawn.y(float(dot.get("cy", ""))) == pytest.approx(3, abs=0.01)


def test_bars_are_as_high_as_their_counts_and_as_wide_as_their_bins() -> None:
    edges = (0.0, 1.0, 2.0, 4.0)
    levels = (LevelCounts("a", (2, 0, 8)), LevelCounts("b & c", (4, 4, 0)))
    drawn = Drawn(histogram_chart(Histogram("t", "score", edges, levels), {"a": 0, "b & c": 1}))
    first, second = ([*group.iter("rect")] for group in drawn.all("g", "bars"))
    heights = [float(bar.get("height", "")) for bar in (*first, *second)]
    assert [height / heights[0] for height in heights] == pytest.approx([1, 4, 2, 2], rel=0.02)
    left = [drawn.x(float(bar.get("x", ""))) for bar in first]
    assert left == pytest.approx([0, 2], abs=0.01)
    right = drawn.x(float(first[1].get("x", "")) + float(first[1].get("width", "")))
    assert right == pytest.approx(4, abs=0.01)
    # Bars of a level stand on its own line.
    floors = {float(bar.get("y", "")) + float(bar.get("height", "")) for bar in second}
    assert max(floors) - min(floors) < 0.11
    texts = [text.text for text in drawn.root.iter("text")]
    assert {"b & c", "n = 10", "n = 8"} <= set(texts)


def test_points_of_a_scatter_are_where_the_axes_say() -> None:
    found = Scatter(
        "t", "NIQE", "score", (3.0, 5.0, 4.5), (-1.0, 2.0, 0.5), ("sr", "gan", "sr"), 0.5
    )
    drawn = Drawn(scatter_chart(found, {"sr": 2, "gan": 0}))
    sr, gan = drawn.all("path", "points")
    assert (sr.get("class"), gan.get("class")) == ("points c2", "points c0")
    across, down = zip(*drawn.points(sr), *drawn.points(gan), strict=True)
    assert across == pytest.approx([3, 4.5, 5], abs=0.01)
    assert down == pytest.approx([-1, 0.5, 2], abs=0.01)
    assert len({path.get("d", "").split("m")[1] for path in (sr, gan)}) == 2  # shapes differ


def test_of_many_points_even_ones_are_drawn() -> None:
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(10, 5) == [0, 2, 4, 6, 8]
    chosen = evenly(10_007, 3000)
    assert len(set(chosen)) == 3000
    assert {b - a for a, b in pairwise(chosen)} == {3, 4}


def test_a_label_keeps_its_colour_and_others_take_free_ones() -> None:
    assert choose_colours(["a", "b", "a"]) == {"a": 0, "b": 1}
    assert choose_colours(["new", "b", "other"], {"a": 0, "b": 1}) == {"b": 1, "new": 0, "other": 2}
    many = choose_colours([str(i) for i in range(COLOURS + 2)])
    assert list(many.values())[:COLOURS] == list(range(COLOURS))
    assert set(many.values()) == set(range(COLOURS))
