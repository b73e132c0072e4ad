from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from ranksrgan.contracts import ScorerInfo
from ranksrgan.contracts.errors import ImageTooSmall, InvalidDataset, InvalidInput, UndefinedScore
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.metrics import create_scorer, niqe, patch_crops, psnr, rmse
from ranksrgan.rankdata import BuildConfig, RankDataset, build
from ranksrgan.rankdata.manifest import RECORD, Row, read_manifest

LEVELS = {"sr": "bicubic", "mid": "interpolate:sr:0.5", "hr": "hr"}


def _config(hr: Path, **changes: object) -> BuildConfig:
    settings: dict[str, object] = {
        "hr": hr,
        "output": hr.parent / "out",
        "levels": LEVELS,
        "metric": "rmse",
        "crop": 32,
        "stride": 30,
        "val": 0.25,
    }
    return BuildConfig.model_validate(settings | changes)


def _stored(config: BuildConfig, row: Row, level: str | None = None) -> Tensor:
    path = config.output / "levels" / (level or row.level) / f"{row.source}.png"
    image = to_tensor(read_image(path))
    return image[..., row.top : row.top + row.height, row.left : row.left + row.width]


def test_scores_are_those_of_what_is_stored(hr: Path) -> None:
    config = _config(hr)
    summary = build(config)
    rows = read_manifest(config.output)
    # 100 x 96 pixels at stride 30: tops 0, 30, 60 and lefts 0, 30, 60.
    assert len(rows) == 4 * 9 * 3
    assert {(row.top, row.left) for row in rows} == {
        (top, left) for top in (0, 30, 60) for left in (0, 30, 60)
    }
    for row in rows:
        assert row.score == rmse(_stored(config, row), _stored(config, row, "hr")).item()
    assert sum(summary.crops.values()) == 36
    assert summary.crops == {"train": 27, "val": 9}


def test_niqe_of_stored_crops(hr: Path) -> None:
    config = _config(hr, metric="niqe", crop=96, stride=4)
    scorer = create_scorer("niqe")
    with pytest.raises(InvalidDataset, match=r"no crop is left: 8 crop\(s\) image_too_small"):
        build(config)  # one block alone has no covariance
    assert scorer.info.min_side <= 96
    for path in hr.iterdir():
        pixels = read_image(path).colour
        write_image(path, Picture(np.tile(pixels, (2, 2, 1))))
    config = _config(hr, metric="niqe", crop=192, stride=192)
    build(config)
    rows = read_manifest(config.output)
    assert len(rows) == 12
    for row in rows:
        assert row.score == pytest.approx(niqe(_stored(config, row)).item(), abs=1e-9)


def test_manifest_says_what_the_files_are(hr: Path) -> None:
    config = _config(hr, stride=60)
    build(config)
    for row in read_manifest(config.output):
        path = config.output / "levels" / row.level / f"{row.source}.png"
        assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        sharpness = patch_crops(_stored(config, row, "hr"), 32, 32).sharpness.item()
        assert row.sharpness == pytest.approx(sharpness, abs=1e-9)
    RankDataset.open(config.output, check_hashes=True)


def test_record_holds_parameters_direction_and_versions(hr: Path) -> None:
    config = _config(hr, metric="psnr?border=2", seed=7)
    build(config)
    record = json.loads((config.output / RECORD).read_text())
    assert record["format"] == 2
    assert record["metric"]["higher_is_better"] is True
    assert record["metric"]["name"] == "psnr?border=2"
    assert [level["name"] for level in record["levels"]] == list(LEVELS)
    assert record["levels"][1]["facts"] == {"of": "sr", "lambda": 0.5}
    assert record["config"]["stride"] == 30
    assert record["run"]["seed"] == 7
    assert "torch" in record["run"]["versions"]


def test_psnr_of_the_original_stays_infinite(hr: Path) -> None:
    config = _config(hr, metric="psnr")
    build(config)
    for row in read_manifest(config.output):
        assert row.score == psnr(_stored(config, row), _stored(config, row, "hr")).item()
        assert (row.score == float("inf")) == (row.level == "hr")


def test_no_source_is_in_two_splits_and_the_split_is_reproducible(hr: Path) -> None:
    first, second = _config(hr), _config(hr, output=hr.parent / "again", stride=60)
    build(first)
    build(second)
    splits: dict[str, set[str]] = defaultdict(set)
    for row in read_manifest(first.output) + read_manifest(second.output):
        splits[row.source].add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert Counter(next(iter(found)) for found in splits.values()) == {"train": 3, "val": 1}


def _flatten(path: Path) -> None:
    """Make the upper left corner one colour."""
    pixels = read_image(path).colour.copy()
    pixels[:62, :62] = 90
    write_image(path, Picture(pixels))


def test_flat_crops_are_dropped_at_every_level_and_counted(hr: Path) -> None:
    _flatten(hr / "coffee.png")
    config = _config(hr, min_sharpness=0.5)
    summary = build(config)
    # tops and lefts 0 and 30 lie inside the flat corner
    assert summary.counts.crops_dropped == {"below_min_sharpness": 4}
    kept = [
        (row.top, row.left, row.level)
        for row in read_manifest(config.output)
        if row.source == "coffee"
    ]
    assert len(kept) == 5 * 3
    assert (0, 0) not in {(top, left) for top, left, _ in kept}


class _Choosy:
    """Mean brightness; has no score for flat images, and says so for a whole batch as NIQE does."""

    info = ScorerInfo("mean", "1", True, False, False, 1)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        flat = images.flatten(1).double().std(1) == 0
        if flat.any():
            raise UndefinedScore("a flat image")
        return images.double().mean((1, 2, 3))


def test_crop_without_score_at_one_level_is_dropped_at_all(hr: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for path in hr.iterdir():
        write_image(results / path.name, read_image(path))
    _flatten(results / "coffee.png")  # flat at the last level only
    config = _config(hr, levels=LEVELS | {"late": str(results)})
    summary = build(config, scorer=_Choosy())
    assert summary.counts.crops_dropped == {"undefined_score": 4}
    rows = read_manifest(config.output)
    assert len(rows) == (36 - 4) * 4
    assert not [row for row in rows if row.source == "coffee" and max(row.top, row.left) < 60]
    for row in rows:
        assert row.score == _stored(config, row).double().mean().item()


def test_flat_image_and_small_image_are_counted_not_guessed(hr: Path) -> None:
    write_image(hr / "flat.png", Picture(np.full((192, 288, 3), 7, np.uint8)))
    write_image(hr / "tiny.png", Picture(np.zeros((3, 3, 3), np.uint8)))
    config = _config(hr, crop=192, stride=96, metric="niqe", val=0)
    for name in ("coffee", "rocket"):
        pixels = read_image(hr / f"{name}.png").colour
        write_image(hr / f"{name}.png", Picture(np.tile(pixels, (2, 2, 1))))
    summary = build(config)
    assert summary.counts.sources == 6
    assert summary.counts.sources_smaller_than_crop == 3  # astronaut, chelsea, tiny
    assert summary.counts.sources_without_kept_crop == 1  # flat
    assert summary.counts.crops_dropped == {"undefined_score": 2}
    assert {row.source for row in read_manifest(config.output)} == {"coffee", "rocket"}
    assert not (config.output / "levels" / "sr" / "flat.png").exists()


def test_crop_below_the_metrics_size_is_refused_at_once(hr: Path) -> None:
    with pytest.raises(ImageTooSmall, match="crop: 32 pixels a side; niqe needs 96"):
        build(_config(hr, metric="niqe"))


class _Breaks(_Choosy):
    """Fails on its fifth call."""

    def __init__(self) -> None:
        self.calls = 0

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        self.calls += 1
        if self.calls == 5:
            raise RuntimeError("the disk is on fire")
        return super().score(images)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_failure_midway_leaves_nothing(hr: Path) -> None:
    config = _config(hr)
    with pytest.raises(RuntimeError, match="on fire"):
        build(config, scorer=_Breaks())
    assert {path.name for path in hr.parent.iterdir()} == {"hr"}


def test_failure_midway_leaves_the_old_dataset_intact(hr: Path) -> None:
    config = _config(hr)
    build(config)
    before = _snapshot(config.output)
    with pytest.raises(RuntimeError, match="on fire"):
        build(config, scorer=_Breaks(), overwrite=True)
    assert _snapshot(config.output) == before
    assert {path.name for path in hr.parent.iterdir()} == {"hr", "out"}


def test_old_dataset_is_replaced_only_when_asked(hr: Path) -> None:
    config = _config(hr)
    build(config)
    before = _snapshot(config.output)
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        build(config)
    assert _snapshot(config.output) == before
    build(_config(hr, stride=60), overwrite=True)
    assert len(read_manifest(config.output)) == 4 * 4 * 3
    assert {path.name for path in hr.parent.iterdir()} == {"hr", "out"}


def test_folder_with_other_files_is_never_replaced(hr: Path) -> None:
    config = _config(hr)
    config.output.mkdir()
    (config.output / "thesis.tex").write_text("chapter 1")
    with pytest.raises(InvalidInput, match="no rank dataset"):
        build(config, overwrite=True)
    assert (config.output / "thesis.tex").read_text() == "chapter 1"


def test_too_few_images_are_found_out_before_the_work(hr: Path) -> None:
    scorer = _Breaks()
    for name in ("astronaut", "chelsea", "coffee"):
        (hr / f"{name}.png").unlink()
    with pytest.raises(InvalidDataset, match="cannot fill 2 splits"):
        build(_config(hr), scorer=scorer)
    assert scorer.calls == 0


def test_damaged_source_is_named(hr: Path) -> None:
    (hr / "coffee.png").write_bytes((hr / "coffee.png").read_bytes()[:900])
    with pytest.raises(InvalidInput, match=r"coffee\.png"):
        build(_config(hr))


def test_progress_counts_up_to_the_total(hr: Path) -> None:
    steps: list[tuple[int, int]] = []
    build(_config(hr), progress=lambda done, total, _: steps.append((done, total)))
    assert steps == [(done, 12) for done in range(1, 13)]


def test_two_builds_hold_the_same_data(hr: Path) -> None:
    fingerprints = []
    for name in ("a", "b"):
        config = _config(hr, output=hr.parent / name)
        build(config)
        dataset = RankDataset.open(config.output)
        fingerprints.append(dataset.fingerprint(dataset.contents))
    assert fingerprints[0] == fingerprints[1]
