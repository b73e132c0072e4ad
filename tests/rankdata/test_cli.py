from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.cli import main


def _build(hr: Path, *more: str) -> list[str]:
    return [
        "build",
        *("--hr", str(hr)),
        *("--level", "sr=bicubic?scale=4", "hr=hr"),
        *("--level", "mid=interpolate:sr:0.5"),
        *("--metric", "rmse", "--crop", "32", "--stride", "60", "--val", "0.25"),
        *("-o", str(hr.parent / "out")),
        *more,
    ]


def test_build_then_inspect(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_build(hr)) == 0
    text = capsys.readouterr().out
    assert "train: 12 crops of 3 images\nval: 4 crops of 1 images\n" in text
    picture = hr.parent / "scores.png"
    assert main(["inspect", str(hr.parent / "out"), "--check", "--histogram", str(picture)]) == 0
    table = capsys.readouterr().out
    assert "metric: rmse (lower is better)" in table
    assert table.endswith("\nevery image has the hash that is recorded\n")
    assert picture.is_file()
    next((hr.parent / "out" / "levels" / "sr").iterdir()).write_bytes(picture.read_bytes())
    assert main(["inspect", str(hr.parent / "out"), "--check"]) == 1
    assert "hash" not in capsys.readouterr().out


def test_a_histogram_replaces_nothing_of_the_dataset(
    hr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_build(hr)) == 0
    folder = hr.parent / "out"
    image = next((folder / "levels" / "sr").iterdir())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for file in (folder / "manifest.parquet", folder / "dataset.json", image):
        capsys.readouterr()
        assert main(["inspect", str(folder), "--histogram", str(file)]) == 1
        said = f"{file} is an input and would be replaced: name another file with --histogram"
        assert capsys.readouterr().err == f"error: {said}\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for _ in range(2):  # an earlier one is no part of it
        assert main(["inspect", str(folder), "--histogram", str(folder / "scores.png")]) == 0
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_inspect_as_json(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_build(hr, "--metric", "psnr")) == 0
    capsys.readouterr()
    assert main(["inspect", str(hr.parent / "out"), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["splits"] == {
        "train": {"sources": 3, "crops": 12},
        "val": {"sources": 1, "crops": 4},
    }
    assert list(report["levels"]) == ["sr", "hr", "mid"]
    assert report["levels"]["hr"]["wins"] == 1.0
    assert report["levels"]["hr"]["mean"] is None  # infinite


def test_overrides_go_before_flags_and_flags_before_the_file(hr: Path) -> None:
    settings = hr.parent / "build.yaml"
    settings.write_text("crop: 48\nstride: 50\nmin_sharpness: 0.25\n")
    assert main(_build(hr, "--recipe", str(settings), "stride=30", "seed=3")) == 0
    config = RankDataset.open(hr.parent / "out").record.config
    assert (config["crop"], config["stride"], config["seed"]) == (32, 30, 3)
    assert config["min_sharpness"] == 0.25
    assert config["levels"] == {
        "sr": "bicubic?scale=4",
        "hr": "hr",
        "mid": "interpolate:sr:0.5",
    }


def test_a_flag_that_is_given_twice_counts_twice_or_is_refused(
    hr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_build(hr, "--further", "psnr", "--further", "ssim")) == 0
    record = RankDataset.open(hr.parent / "out").record
    assert [info.name for info in record.further] == ["psnr", "ssim"]
    with pytest.raises(SystemExit):
        main(_build(hr, "--level", "sr=blur:2"))
    assert "--level sr=... is given 2 times" in capsys.readouterr().err


def test_another_build_needs_force(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_build(hr)) == 0
    first = capsys.readouterr().out
    assert main(_build(hr)) == 0  # the same: nothing to do
    assert capsys.readouterr().out == first
    assert main(_build(hr, "--stride", "50")) == 1
    assert "--force" in capsys.readouterr().err
    assert main(_build(hr, "--stride", "50", "--force")) == 0


def test_force_spares_what_is_not_the_datasets(
    hr: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_build(hr)) == 0
    out = hr.parent / "out"
    (out / "ranker.safetensors").write_bytes(b"weeks of work")
    capsys.readouterr()
    assert main(_build(hr, "--stride", "50", "--force")) == 1
    assert "delete the rest: ranker.safetensors; move that elsewhere" in capsys.readouterr().err
    assert (out / "ranker.safetensors").read_bytes() == b"weeks of work"
    assert [path.name for path in out.parent.glob(".*.building")] == []
    (out / "ranker.safetensors").rename(out.parent / "ranker.safetensors")
    assert main(_build(hr, "--stride", "50", "--force")) == 0


def test_recipe_with_flags(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = hr.parent / "ranks"
    flags = ["--hr", str(hr), "-o", str(out), "--crop", "whole", "--further", "rmse", "psnr"]
    assert main(["build", "--recipe", "noise", *flags, "--sources", "3", "--val", "0"]) == 0
    assert "3 levels labelled by order in" in capsys.readouterr().out
    record = RankDataset.open(out).record
    assert record.config["levels"] == {
        "noise1": "noise:1",
        "noise15": "noise:15",
        "noise30": "noise:30",
    }
    assert record.config["crop"] == "whole"
    assert [info.name for info in record.further] == ["rmse", "psnr"]
    assert record.counts.sources_not_chosen == 1


def test_near_duplicates_are_told(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hr / "again.png").write_bytes((hr / "coffee.png").read_bytes())
    assert main(_build(hr)) == 0
    assert "near-duplicates, in one split: again, coffee\n" in capsys.readouterr().out


def test_executor_that_is_not_installed(
    hr: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(_build(hr, "--executor", "ray")) == 1
    assert "pip install 'packages/rankdata[ray]'" in capsys.readouterr().err


def test_unknown_key(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_build(hr, "strid=3")) == 1
    assert "strid=3: unknown key; did you mean stride?" in capsys.readouterr().err
    assert not (hr.parent / "out").exists()


def test_unknown_metric(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_build(hr, "--metric", "taste")) == 1
    assert "taste" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["build"], ["build", "--hr", "x"], ["build", "--level", "x"], ["inspect"]),
        *(["build", "--crop", "half"], ["build", "--workers", "0"], ["build", "--executor", "x"]),
    ],
)
def test_wrong_command_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_folder_that_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert "is no rank dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["build"], ["human"], ["remote", "build", "--at", "unix:s.sock", "-o", "datasets/x"]],
)
def test_settings_stand_on_both_sides_of_flags(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("kind: pipal\n" if command == ["human"] else "scale: 4\n")
    line = [*command, "first_one=1", "--recipe", str(tmp_path / "c.yaml"), "second_one=2"]
    assert main(line) == 1
    said = capsys.readouterr().err
    assert "first_one" in said
    assert "second_one" in said
