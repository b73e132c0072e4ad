from __future__ import annotations

from pathlib import Path

import numpy as np

from ranksrgan.contracts.images import Picture
from ranksrgan.pipeline.report import (
    Crop,
    Curve,
    Report,
    crop_picture,
    read_series,
    sharpest_box,
    write_report,
)


def picture(height: int = 40, width: int = 50) -> Picture:
    return Picture(np.full((height, width, 3), 128, dtype=np.uint8))


def test_the_sharpest_square_is_where_the_texture_is() -> None:
    image = picture()
    image.colour[20:30, 31:41] = np.random.default_rng(0).integers(0, 256, (10, 10, 3))
    top, left = sharpest_box(image, 12)
    assert 18 <= top <= 20
    assert 29 <= left <= 31
    assert crop_picture(image, (top, left), 12).colour.shape == (12, 12, 3)


def test_a_series_skips_the_steps_without_a_value(tmp_path: Path) -> None:
    path = tmp_path / "validation.csv"
    path.write_text("step,psnr,niqe\n0,20,\n5,21.5,4.25\n")
    assert read_series(path, "niqe", "x") == Curve("x", [5.0], [4.25])
    assert read_series(path, "psnr", "x").values == [20.0, 21.5]


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(tmp_path: Path) -> None:
    report = Report(
        title="A & B",
        verdict=("1 < 2", False),
        columns=("method", "NIQE"),
        rows=[("<script>", "3.2")],
        notes=["note"],
        crops={"cat": [Crop("HR", "NIQE 3", picture())]},
        plots={"loss": [Curve("train", [1, 2], [0.5, 0.25])]},
    )
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    assert "A &amp; B" in page
    assert "1 &lt; 2" in page
    assert "<script>" not in page
    assert 'class="verdict no"' in page
    assert page.count('src="data:image/png;base64,') == 2
    assert 'src="http' not in page
