from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts.errors import InvalidImage, InvalidInput
from ranksrgan.contracts.images import Picture, decode_image, read_image, write_image
from ranksrgan.pipeline.reproduction.findings import (
    Cell,
    Crop,
    Curve,
    Findings,
    Histogram,
    ImageRow,
    LevelCounts,
    Row,
    Scatter,
    Table,
    Verdict,
)
from ranksrgan.pipeline.reproduction.page import mean_over_seeds, write_page
from tests.pipeline.reproduction.made_up import COLUMNS, METHODS, make_findings


class Read(HTMLParser):
    """What a browser makes of a page: elements with their attributes and texts, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self._in = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("style", "script"):
            self.raw[self._in] = self.raw.get(self._in, "") + data
        elif data.strip():
            self.texts.append(data.strip())

    def having(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            found
            for name, found in self.elements
            if name == tag
            and all(found.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]


def written(findings: Findings, folder: Path, **options: int) -> str:
    write_page(findings, folder / "report.html", **options)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return make_findings(tmp_path)


def cells(page: str, method: str) -> list[tuple[str, bool]]:
    """Text of the cells of a row of the table, and whether each is marked as the best."""
    (row,) = re.findall(rf'<th scope="row">{method}</th>(<td.*?)</tr>', page)
    found = re.findall(r"<td([^>]*)>(.*?)</td>", row)
    return [(re.sub("<.*?>", "", text), "best" in kind) for kind, text in found]


def test_the_table_has_means_spreads_and_the_best(findings: Findings, tmp_path: Path) -> None:
    page = written(findings, tmp_path)
    # 27.514 and 27.506 are both 27.51: a tie. Time has no direction; ground truth does not compete.
    best = " (best)"
    assert cells(page, "SRGAN") == [
        *(("27.51" + best, True), ("± 0.25", True), ("4.100", False), ("± 0.040", False)),
        ("152", False),
    ]
    assert cells(page, "RankSRGAN") == [
        *(("27.51" + best, True), ("± 0.12", True), ("3.400" + best, True), ("", True)),
        ("171", False),
    ]
    nothing = "\N{EN DASH}"
    assert [text for text, _ in cells(page, "ground truth")] == [nothing, "", "3.000", "", nothing]
    assert not any(best for _, best in cells(page, "ground truth"))
    texts = Read(page).texts
    assert {"PSNR (dB) ↑", "NIQE ↓", "time (ms)", "Set2"} <= set(texts)


def test_a_method_alone_is_no_best_and_missing_seeds_are_told(tmp_path: Path) -> None:
    table = Table(COLUMNS[:1], (Row("", "alone", (Cell(1.0, 0.5, 2),)),))
    findings = Findings("n", "t", "c", "small", (0, 1, 2), (), table, ())
    page = written(findings, tmp_path)
    assert cells(page, "alone") == [("1.00", False), ("± 0.50 (2 seeds)", False)]


def test_groups_without_a_common_column_are_tables_of_their_own(tmp_path: Path) -> None:
    def row(group: str, *means: float | None) -> Row:
        return Row(group, f"m {group}", tuple(Cell(mean) for mean in means))

    table = Table(
        COLUMNS,
        (
            row("Steps", None, None, 7),
            row("A", 20, None, None),
            row("B", 21, 4, None),
            row("C", 1, 2, 3),
        ),
    )
    page = written(Findings("n", "t", "c", "small", (0,), (), table, ()), tmp_path)
    tables = re.findall(r'<table class="figures">(.*?)</table>', page, re.DOTALL)
    heads = [re.findall(r'<th scope="col">(.*?)</th>', one) for one in tables]
    assert heads == [
        ["Method", "time (ms)"],
        ["Method", "PSNR (dB) ↑", "NIQE ↓", "time (ms)"],
    ]
    assert [text for text, _ in cells(page, "m Steps")] == ["7"]
    assert [text for text, _ in cells(page, "m A")] == ["20.00", "\N{EN DASH}", "\N{EN DASH}"]


def test_verdicts_come_first_and_say_so_in_words(findings: Findings, tmp_path: Path) -> None:
    page = written(findings, tmp_path)
    assert page.startswith("<!doctype html>")
    assert page.index("It is.") < page.index("By little.") < page.index('id="figures"')
    assert re.findall(r'<li class="(.*?)"><strong><span.*?</span> (.*?)</strong>', page) == [
        ("held", "Held"),
        ("undecided", "Undecided"),
    ]


def test_curves_are_means_over_the_seeds_at_the_steps_that_all_have() -> None:
    lines = mean_over_seeds(
        [
            Curve("NIQE", "ours", 0, False, (0, 100, 200), (4.0, 3.0, 2.0), False),
            Curve("NIQE", "ours", 1, False, (100, 0), (2.0, 4.0), False),
            Curve("NIQE", "control", 0, True, (0,), (4.0,), False),
            Curve("PSNR", "none", 0, False, (0,), (4.0,), True),
            Curve("PSNR", "none", 1, False, (1,), (4.0,), True),
        ]
    )
    assert list(lines) == ["NIQE"]
    ours, control = lines["NIQE"]
    assert (ours.steps, ours.mean, ours.seeds) == ((0, 100), (4.0, 2.5), 2)
    assert ours.spread == pytest.approx((0, 0.5**0.5))
    assert (control.control, control.spread) == (True, (0.0,))


def test_the_legend_has_the_values_of_the_last_step(findings: Findings, tmp_path: Path) -> None:
    page = written(findings, tmp_path)
    legend = dict(re.findall(r'data-line="(\w+)">.*?</th><td class="read">(.*?)</td>', page))
    assert legend == {"RankSRGAN": "3.250 ± 0.354", "SRGAN": "4.000"}
    assert "SRGAN (control)" in page


def test_the_page_loads_nothing_and_its_policy_lets_it(findings: Findings, tmp_path: Path) -> None:
    page = written(findings, tmp_path)
    read = Read(page)
    addresses = [
        str(value)
        for _, attributes in read.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
    ]
    assert len(addresses) >= len(findings.crops)
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?:|@import|url\(|\bimport\b|fetch\(", page.replace("data:", ""))
    assert not [name for name, _ in read.elements if name in ("link", "iframe", "object", "base")]
    (policy,) = read.having("meta", **{"http-equiv": "Content-Security-Policy"})
    allowed = str(policy["content"])
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(read.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in allowed
    assert allowed.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in allowed
    # Which therefore lets no style or handler stand in an element.
    names = {name for _, attributes in read.elements for name in attributes}
    assert not {name for name in names if name == "style" or name.startswith("on")}


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "</style></script><script>alert(1)</script><img src=x onerror='a'>\"&'{{ 7*7 }}"
    write_image(tmp_path / "a.png", Picture(np.zeros((8, 8, 3), np.uint8)))
    column = replace(COLUMNS[1], name=evil, unit=evil)
    findings = Findings(
        *(evil, evil, evil, evil),
        seeds=(0,),
        verdicts=(Verdict(evil, "held"),),
        table=Table((column,), (Row(evil, evil, (Cell(1.0),)),)),
        notes=(evil,),
        curves=(Curve(evil, evil, 0, False, (0, 1), (1.0, 2.0)),),
        histograms=(Histogram(evil, evil, (0.0, 1.0), (LevelCounts(evil, (1,)),)),),
        scatters=(Scatter(evil, evil, evil, (1.0,), (1.0,), (evil,), None),),
        crops=(Crop(evil, evil, evil, 0, "a.png", {evil: 1.0}),),
        images=(ImageRow(evil, evil, evil, 0, {evil: 1.0}),),
    )
    read = Read(written(findings, tmp_path))
    kinds = [name for name, _ in read.elements]
    assert kinds.count("script") == kinds.count("style") == kinds.count("img") == 1
    assert not [1 for _, found in read.elements if any(key.startswith("on") for key in found)]
    assert evil in read.texts
    (image,) = read.having("img")
    assert image["alt"] == f"{evil}: {evil}, {evil}, seed 0"


def test_parts_without_findings_are_left_out(findings: Findings, tmp_path: Path) -> None:
    whole = written(findings, tmp_path)
    parts = ("verdicts", "figures", "curves", "pictures", "ranker", "images")
    assert [part for part in parts if f'<section id="{part}"' in whole] == list(parts)
    bare = Findings("n", "Nothing yet", "c", "small", (), (), Table((), ()), ())
    page = written(bare, tmp_path)
    assert "Nothing yet" in page
    assert "<section" not in page
    assert 'href="#' not in page


def test_crops_are_exact_where_there_is_room(findings: Findings, tmp_path: Path) -> None:
    page = written(findings, tmp_path)
    images = Read(page).having("img")
    assert len(images) == len(findings.crops)
    for crop, image in zip(findings.crops, images, strict=True):
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/png;base64"
        shown = decode_image(base64.b64decode(data)).colour
        assert np.array_equal(shown, read_image(tmp_path / crop.path).colour)
        assert (image["width"], image["height"]) == ("32", "24")
    assert "NIQE\N{NO-BREAK SPACE}2.000" in page


def test_the_page_keeps_to_its_size(findings: Findings, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    for crop in findings.crops:
        write_image(tmp_path / crop.path, Picture(noise))
    bare = len(written(replace(findings, crops=()), tmp_path).encode())
    exact = len(written(findings, tmp_path).encode())
    assert exact > bare + 6 * 160 * 160 * 3 * 4 / 3

    packed = written(findings, tmp_path, most_bytes=exact - 1)
    assert len(packed.encode()) < exact
    assert "WebP of quality 95" in packed
    assert packed.count('src="data:image/webp;base64,') == 6

    # Noise of one image has room however it is packed, of two it has not.
    smallest = len(written(findings, tmp_path, most_bytes=bare + 1).encode())
    assert smallest <= bare + 1500
    few = written(findings, tmp_path, most_bytes=bare + 110_000)
    assert len(few.encode()) <= bare + 110_000
    assert few.count('src="data:image/webp;base64,') == 3
    assert "1 more image had no room" in few


def test_crops_must_be_there_within_the_folder_and_fit(findings: Findings, tmp_path: Path) -> None:
    first = findings.crops[0]
    (tmp_path / "inside").mkdir()
    for path, error, told in (
        ("../crops/cat-0.png", InvalidInput, "must lie within"),
        (str(tmp_path / "crops" / "cat-0.png"), InvalidInput, "must lie within"),
        ("none.png", InvalidImage, "No such file"),
    ):
        broken = replace(findings, crops=(replace(first, path=path),))
        with pytest.raises(error, match=told):
            write_page(broken, tmp_path / "inside" / "report.html")
    assert not (tmp_path / "inside" / "report.html").exists()
    write_image(tmp_path / first.path, Picture(np.zeros((24, 31, 3), np.uint8)))
    with pytest.raises(InvalidInput, match="31 x 24"):
        write_page(findings, tmp_path / "report.html")


def test_images_can_be_had_as_csv_with_all_digits(findings: Findings, tmp_path: Path) -> None:
    findings = replace(
        findings, images=(*findings.images, ImageRow("Set2", 'a,"b"', "x", None, {"other": 0.1}))
    )
    page = written(findings, tmp_path)
    (link,) = Read(page).having("a", download="trial-images.csv")
    data = base64.b64decode(str(link["href"]).split(",")[1]).decode()
    assert list(csv.reader(io.StringIO(data))) == [
        ["test_set", "image", "method", "seed", "PSNR", "NIQE", "other"],
        ["Set2", "img10", "SRGAN", "0", "27.0", "4.0", ""],
        ["Set2", "img9", "SRGAN", "0", "9.5", "", ""],
        ["Set2", "img9", "RankSRGAN", "1", "100.25", "3.123456", ""],
        ["Set2", 'a,"b"', "x", "", "", "", "0.1"],
    ]
    assert 'data-value="3.123456">3.123<' in page


def test_methods_have_one_colour_in_all_charts(findings: Findings, tmp_path: Path) -> None:
    page = written(replace(findings, curves=findings.curves[:2]), tmp_path)
    assert METHODS[1] in page
    assert '<g class="c0" data-line="RankSRGAN">' in page
    assert re.findall(r'class="bars (c\d)"', page) == ["c0", "c1"]
    levels = tuple(LevelCounts(name, (1, 1, 1)) for name in ("SRGAN", "RankSRGAN"))
    known = replace(findings.histograms[0], levels=levels)
    page = written(replace(findings, curves=findings.curves[:2], histograms=(known,)), tmp_path)
    assert re.findall(r'class="bars (c\d)"', page) == ["c1", "c0"]
