from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.images import decode_image
from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.ranker import report
from ranksrgan.ranker.compare import Comparison, as_json, as_table, compare, level_table
from ranksrgan.ranker.report import worst_contents, write_report

Source = Callable[..., PairSource]


class Pixel:
    def __init__(self, column: int, *, higher_is_better: bool = False) -> None:
        self.info = ScorerInfo(f"pixel{column}", "1", higher_is_better, False, False, 1)
        self._column = column

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return images[:, 0, 0, self._column].double()


def content(name: str, truth: list[float], predicted: list[float], side: int = 8) -> RankedContent:
    """Pixel 0 is right, pixel 1 says what is predicted."""
    images = torch.full((len(truth), 3, side, side), 0.5)
    images[:, 0, 0, 0] = torch.tensor(truth)
    images[:, 0, 0, 1] = torch.tensor(predicted)
    levels = tuple(f"<level{i}>" for i in range(len(truth)))
    return RankedContent(name, levels, images, torch.tensor(truth, dtype=torch.float64))


@pytest.fixture
def source(source_of: Source) -> PairSource:
    return source_of(
        [
            content("right", [0.1, 0.2, 0.3], [0.1, 0.2, 0.3]),
            content("slight", [0.1, 0.15, 0.3], [0.2, 0.1, 0.3]),
            content("gross", [0.2, 0.3, 0.9], [0.9, 0.3, 0.2]),
            content("reversed", [0.2, 0.4, 0.3], [0.1, 0.3, 0.2]),
        ]
    )


def pictures(page: str) -> dict[str, bytes]:
    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)"', page)
    return {alt: base64.b64decode(data, validate=True) for alt, data in found}


def test_one_page(source: PairSource, tmp_path: Path) -> None:
    found = compare({"mine & yours": Pixel(1), "exact": Pixel(0)}, source)
    path = tmp_path / "new" / "out.html"
    write_report(path, found, source)
    assert [file.name for file in path.parent.iterdir()] == ["out.html"]
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert "http" not in page  # needs nothing else
    assert "<level0>" not in page
    assert "&lt;level0&gt;" in page
    text = re.sub(r"<[^>]+>", " ", page)
    for name, row in found.rows:
        assert f"{row.srocc:.4f}" in text, name
    assert "12 images of 4 contents" in text
    assert 'class="verdict no">mine &amp; yours orders the versions of a content no better' in page
    assert (
        'class="verdict">exact orders the versions of a content better than the best fixed order '
        "of the levels (1.000 against 0.875), and has 100% of the pairs right"
    ) in page
    shown = pictures(page)
    for name in ("mine &amp; yours", "exact"):
        for kind in ("histograms", "calibration"):
            assert decode_image(shown[f"{name}: {kind}"]).width > 800
    # The exact scorer has no wrong content; of the other one the grossest comes first.
    assert [alt for alt in shown if "level0" in alt] == [
        "gross: &lt;level0&gt;",
        "slight: &lt;level0&gt;",
    ]
    assert "0.9000 (place 3)" in text


def test_figures_follow_the_scores(source: PairSource, source_of: Source, tmp_path: Path) -> None:
    pages = []
    for column in (0, 1):
        path = tmp_path / f"{column}.html"
        write_report(path, compare({"one": Pixel(column)}, source), source)
        pages.append(pictures(path.read_text()))
    for kind in ("one: histograms", "one: calibration"):
        assert pages[0][kind] != pages[1][kind]


def test_infinite_values_are_shown_as_what_they_are(source_of: Source, tmp_path: Path) -> None:
    pixels = [content(f"c{i}", [0.1, 0.2, 0.3 + i / 9], [0.0] * 3) for i in range(3)]
    scores = torch.tensor([1.0, 2.0, torch.inf], dtype=torch.float64)
    contents = [one._replace(scores=scores) for one in pixels]
    found = compare({"mine": Pixel(0)}, source_of(contents))
    document = json.loads(as_json(found))
    assert document["scorers"]["mine"]["plcc"] is None
    assert document["scorers"]["mine"]["by_level"][-1]["truth"] is None
    assert document["metric_itself"]["gap"] is None
    assert document["metric_itself"]["srocc"] == 1
    first = as_table(found).splitlines()
    assert next(line for line in first if line.startswith("mine")).split()[4] == "-"
    assert level_table(found)[-1][2] == "inf"
    write_report(tmp_path / "out.html", found, source_of(contents))
    page = (tmp_path / "out.html").read_text()
    assert "Without 3 images of an infinite value." in page
    # Nothing is left to be fitted where every image's metric or score is infinite.
    one = replace(found.scorers["mine"], calibration=None)
    write_report(tmp_path / "out.html", replace(found, scorers={"mine": one}), source_of(contents))
    assert "<h3>Calibration</h3>" not in (tmp_path / "out.html").read_text()


def test_worst_first(source: PairSource) -> None:
    found = compare({"mine": Pixel(1), "exact": Pixel(0)}, source)
    assert worst_contents(found.scorers["mine"]) == [2, 1]
    assert worst_contents(found.scorers["mine"], min_gap=0.06) == [2]
    assert worst_contents(found.scorers["exact"]) == []


def test_no_more_contents_than_a_reader_looks_at(source_of: Source) -> None:
    many = source_of([content(f"c{i}", [0.1, 0.2 + i / 100], [1, 0]) for i in range(9)])
    found = compare({"mine": Pixel(1)}, many)
    assert worst_contents(found.scorers["mine"]) == [8, 7, 6, 5][: report.WORST]


def test_large_images_show_their_middle(
    source_of: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "SIDE", 6)
    one = content("c", [0.1, 0.2], [0.2, 0.1], side=20)
    one.images[:, :, 7:13, 7:13] = 1
    path = tmp_path / "out.html"
    write_report(path, compare({"mine": Pixel(1)}, source_of([one])), source_of([one]))
    colour = decode_image(pictures(path.read_text())["c: &lt;level0&gt;"]).colour
    assert colour.shape == (6, 6, 3)
    assert np.all(colour == 255)


@pytest.mark.parametrize("levels", [1, 14])
def test_any_number_of_levels(levels: int, source_of: Source, tmp_path: Path) -> None:
    rows = [[(i + 1) / 100 for i in range(levels)], [(i + 2) / 100 for i in range(levels)]]
    source = source_of([content(f"c{i}", row, row[::-1]) for i, row in enumerate(rows)])
    path = tmp_path / "out.html"
    write_report(path, compare({"mine": Pixel(1)}, source), source)
    assert "mine: histograms" in pictures(path.read_text())


def test_negated_and_constant_scores(source: PairSource, source_of: Source, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    ordered = list(source.contents())[:3]
    scorers = {"turned": Pixel(0, higher_is_better=True), "constant": Pixel(2)}
    write_report(path, compare(scorers, source), source)
    text = re.sub(r"<[^>]+>", " ", path.read_text())
    assert "score, negated -0.9000 (place 1)" in text
    assert "constant orders the versions of a content no better" in text
    # Nothing tells the metric from the levels where all contents have one order.
    write_report(path, compare(scorers, source_of(ordered)), source_of(ordered))
    assert "orders the versions" not in path.read_text()


def test_a_failure_leaves_the_old_page(source: PairSource, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    path.write_text("old")

    class Gone:
        info = source.info

        def contents(self) -> object:
            raise OSError("the disk has gone")

    found: Comparison = compare({"mine": Pixel(1)}, source)
    with pytest.raises(OSError, match="gone"):
        write_report(path, found, Gone())  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
