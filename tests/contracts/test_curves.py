from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ranksrgan.contracts.curves import Curve, Curves, read_curve
from ranksrgan.contracts.errors import DiskFull


def test_a_curve_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    curve = Curve(path, ["loss"], -1)
    for step in (10, 20, 30):
        curve.add(step, {"loss": step / 7})
    curve.close()
    with path.open("a") as file:
        file.write("40,0.12")  # killed while writing
    assert [row["step"] for row in read_curve(path)] == ["10", "20", "30"]

    curve = Curve(path, ["loss"], 20)
    curve.add(30, {"loss": None})
    curve.close()
    assert path.read_text().splitlines() == [
        "step,loss",
        "10,1.4285714285714286",
        "20,2.857142857142857",
        "30,",
    ]
    Curve(path, ["loss"], -1).close()
    assert read_curve(path) == []


def test_what_was_measured_stays_where_it_is_not_measured_any_more(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    curve = Curve(path, ["psnr", "lpips"], -1)
    curve.add(10, {"psnr": 30.0, "lpips": 0.2})
    curve.close()
    curve = Curve(path, ["psnr", "niqe"], 10)
    curve.add(20, {"psnr": 31.0, "niqe": 4.0})
    curve.close()
    assert path.read_text().splitlines() == [
        "step,psnr,niqe,lpips",
        "10,30.0,,0.2",
        "20,31.0,4.0,",
    ]
    Curve(path, ["psnr"], -1).close()
    assert path.read_text().splitlines() == ["step,psnr"]


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    def full(curve: Curve) -> None:
        curve._file.close()
        curve._file = Path("/dev/full").open("a")  # noqa: SIM115 - the curve closes it
        curve._writer = csv.DictWriter(curve._file, ["step", "loss"])

    with (  # noqa: PT012
        pytest.raises(DiskFull, match=r"curves\.csv cannot be written"),
        Curves(tmp_path, losses=["loss"], scores=["s"], step=0, tensorboard=False) as curves,
    ):
        full(curves._losses)
        curves.losses(1, {"loss": 1.0})
    assert curves._scores is not None
    assert curves._scores._file.closed
    curve = Curve(tmp_path / "c.csv", ["loss"], -1)
    full(curve)
    curve._file.write("unflushed")
    with pytest.raises(DiskFull, match=r"c\.csv cannot be written"):
        curve.close()


@pytest.mark.parametrize(
    ("validated", "kept"), [(None, ["0", "2", "4"]), (2, ["0", "2"]), (0, ["0"]), (-1, [])]
)
def test_a_validation_that_is_repeated_has_one_row(
    tmp_path: Path, validated: int | None, kept: list[str]
) -> None:
    with Curves(tmp_path, losses=[], scores=["psnr"], step=0, tensorboard=False) as curves:
        for step in (0, 2, 4):
            curves.scores(step, {"psnr": 30.0})
    Curves(
        tmp_path, losses=[], scores=["psnr"], step=4, validated=validated, tensorboard=False
    ).__exit__(None, None, None)
    assert [row["step"] for row in read_curve(tmp_path / "validation.csv")] == kept


def test_tensorboard_gets_what_the_files_get(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = {"losses": ["pixel"], "scores": ["psnr", "niqe"], "tensorboard": True}
    with Curves(tmp_path, step=0, **options) as curves:
        curves.losses(5, {"pixel": 0.25})
        curves.scores(5, {"psnr": 30.5, "niqe": None})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/pixel", "validation/psnr"]
    assert [(e.step, e.value) for e in events.Scalars("validation/psnr")] == [(5, 30.5)]
    assert read_curve(tmp_path / "validation.csv") == [{"step": "5", "psnr": "30.5", "niqe": ""}]
