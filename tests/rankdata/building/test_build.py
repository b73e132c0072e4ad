from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import ScorerInfo, UpscalerInfo
from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    UndefinedScore,
)
from ranksrgan.contracts.images import Picture, encode_image, read_image, to_tensor, write_image
from ranksrgan.metrics import create_scorer, niqe, patch_crops, psnr, rmse, ssim
from ranksrgan.rankdata import BuildConfig, RankDataset, build, difference_from, open_rank_dataset
from ranksrgan.rankdata.manifest import RECORD, Row, read_manifest
from ranksrgan.srgan.generators.architectures import save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet

NAMES = ["astronaut", "chelsea", "coffee", "rocket"]
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


def _crop(hr: Path, row: Row) -> Tensor:
    image = to_tensor(read_image(hr / f"{row.source}.png"))
    return image[..., row.top : row.top + row.height, row.left : row.left + row.width]


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
    with pytest.raises(ImageTooSmall, match=r"96 x 96 pixels hold 1 blocks .*; crop=192 would do"):
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
    assert record["label"] == "metric"
    assert len(record["identity"]) == 64
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
    with pytest.raises(ImageTooSmall, match=r"crop: 32 pixels .* for niqe: .*; crop=192 would do"):
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


def test_failure_midway_leaves_no_dataset(hr: Path) -> None:
    config = _config(hr)
    with pytest.raises(RuntimeError, match="on fire"):
        build(config, scorer=_Breaks())
    # One source of three levels was finished: there is something to go on from.
    assert {path.name for path in hr.parent.iterdir()} == {"hr", ".out.building"}


def test_failure_before_anything_is_finished_leaves_nothing(hr: Path) -> None:
    (hr / "astronaut.png").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"astronaut\.png"):
        build(_config(hr))
    assert {path.name for path in hr.parent.iterdir()} == {"hr"}


def test_failure_midway_leaves_the_old_dataset_intact(hr: Path) -> None:
    config = _config(hr)
    build(config)
    before = _snapshot(config.output)
    with pytest.raises(RuntimeError, match="on fire"):
        build(config, scorer=_Breaks(), overwrite=True)
    assert _snapshot(config.output) == before
    RankDataset.open(config.output, check_hashes=True)


def test_old_dataset_is_replaced_only_when_asked(hr: Path) -> None:
    config = _config(hr)
    build(config)
    before = _snapshot(config.output)
    with pytest.raises(
        InvalidInput, match=r"holds a dataset, another one \(stride: 30 there, 60 now\).*--force"
    ):
        build(_config(hr, stride=60))
    with pytest.raises(InvalidInput, match=r"another one \(levels: in another order\)"):
        build(_config(hr, levels=dict(reversed(LEVELS.items()))))
    assert _snapshot(config.output) == before
    build(_config(hr, stride=60), overwrite=True)
    assert len(read_manifest(config.output)) == 4 * 4 * 3
    assert {path.name for path in hr.parent.iterdir()} == {"hr", "out"}


def test_building_again_does_nothing(hr: Path) -> None:
    config = _config(hr, further=["psnr"])
    summary = build(config)
    stamps = {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}
    assert build(config) == summary
    assert {path: path.stat().st_mtime_ns for path in config.output.rglob("*")} == stamps
    assert {path.name for path in hr.parent.iterdir()} == {"hr", "out"}


def test_building_again_from_other_images_is_refused(hr: Path) -> None:
    config = _config(hr)
    build(config)
    before = _snapshot(config.output)
    flat = (hr / "coffee.png").read_bytes()
    _flatten(hr / "coffee.png")
    with pytest.raises(InvalidInput, match=r"other images: in .*hr, .* has another content now"):
        build(config)
    (hr / "coffee.png").write_bytes(flat)
    shutil.copy(hr / "coffee.png", hr / "tea.png")
    with pytest.raises(InvalidInput, match=r"other images: 4 there, 5 of .*hr now"):
        build(config)
    (hr / "coffee.png").unlink()
    with pytest.raises(InvalidInput, match=r"other images: coffee not among those of .*hr now"):
        build(config)
    assert _snapshot(config.output) == before
    build(config, overwrite=True)
    assert _snapshot(config.output) != before
    assert build(config).crops == {"train": 27, "val": 9}


def test_where_images_and_weights_lie_does_not_count(hr: Path) -> None:
    weights, results = hr.parent / "a.safetensors", hr.parent / "results"
    save_generator(weights, SRResNet(4, 1), {})
    shutil.copytree(hr, results)
    levels = {"sr": str(weights), "done": str(results), "hr": "hr"}
    config = _config(hr, levels=levels, crop=32)
    summary = build(config)
    moved = hr.parent.rename(hr.parent.with_name("moved"))
    levels = {"sr": str(moved / weights.name), "done": str(moved / results.name), "hr": "hr"}
    again = _config(moved / "hr", levels=levels, crop=32)
    assert difference_from(again) is None
    assert replace(build(again), folder=config.output) == summary
    tiled = {**levels, "sr": f"{levels['sr']}?tile=64"}
    assert str(difference_from(_config(moved / "hr", levels=tiled))).startswith("levels.sr: ")
    save_generator(moved / weights.name, SRResNet(4, 1), {})
    with pytest.raises(InvalidInput, match=r"another one \(level sr: other weights than .*moved"):
        build(again)
    bicubic = _config(moved / "hr", levels={**levels, "sr": "bicubic"})
    assert str(difference_from(bicubic)).startswith("levels.sr: ")


def test_building_again_with_another_metric_of_that_name_is_refused(hr: Path) -> None:
    class Newer(_Choosy):
        info = ScorerInfo("mean", "2", True, False, False, 1)

    config = _config(hr)
    build(config, scorer=_Choosy())
    with pytest.raises(InvalidInput, match=r'metric\.version: "1" there, "2" now'):
        build(config, scorer=Newer())
    with pytest.raises(InvalidInput, match=r'metric: "mean" there, "rmse'):
        build(config)


class _Nearest:
    info = UpscalerInfo("nearest", "1", 4, "nearest")

    def upscale(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(4, 2).repeat_interleave(4, 3)


def test_a_dataset_of_objects_says_so_and_is_rebuilt_with_them_alone(hr: Path) -> None:
    objects: dict[str, Any] = {"scorer": _Choosy(), "upscalers": {"sr": _Nearest()}}
    config = _config(hr)
    build(config, **objects)
    before = _snapshot(config.output)
    written = load_config(BuildConfig, config.output / "config.yaml")
    assert written.metric == "mean"
    assert written.given == ("metric", "levels.sr")
    record = RankDataset.open(config.output).record
    assert record.config["metric"] == record.metric.name == "mean"
    assert record.config["given"] == ["metric", "levels.sr"]
    for some, wanted in (
        ({}, r"scorer=\.\.\., the scorer mean and upscalers=\{'sr': \.\.\.\}"),
        ({"scorer": _Choosy()}, r"given: levels\.sr: .* give build\(\) upscalers=\{'sr': \.\.\.\}"),
        ({"upscalers": objects["upscalers"]}, r"given: metric: .* give build\(\) scorer=\.\.\."),
    ):
        for overwrite in (False, True):
            with pytest.raises(InvalidConfig, match=wanted) as refused:
                build(written, overwrite=overwrite, **some)
            assert refused.value.field == "given"
    with pytest.raises(InvalidConfig, match=r"metric: psnr is given; .* by a scorer mean,"):
        build(written, **{**objects, "scorer": create_scorer("psnr")})
    build(written, **objects)
    build(config, **objects)
    assert _snapshot(config.output) == before
    build(written, overwrite=True, **objects)
    assert (
        read_manifest(config.output)[7].score
        == _stored(config, read_manifest(config.output)[7]).double().mean().item()
    )


def test_a_dataset_of_names_does_not_speak_of_objects(hr: Path) -> None:
    config = _config(hr)
    build(config)
    assert "given" not in (config.output / "config.yaml").read_text()
    assert "given" not in RankDataset.open(config.output).record.config
    assert "given" not in config.model_dump()
    with pytest.raises(ValueError, match=r"given: 'levels\.x' is none of metric, levels\."):
        _config(hr, given=["levels.x"])


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


def test_order_labels_by_the_place_in_the_list(hr: Path) -> None:
    levels = {"hr": "hr", "mild": "blur:1", "strong": "blur:3", "worst": "noise:60:strong"}
    config = _config(hr, levels=levels, label="order", metric="not-opened", further=["rmse"])
    build(config)
    dataset = RankDataset.open(config.output, check_hashes=True)
    assert dataset.record.label == "order"
    assert (dataset.metric.name, dataset.metric.higher_is_better) == ("order", False)
    assert [level.kind for level in dataset.record.levels] == ["hr", "blur", "blur", "noise"]
    assert dataset.record.levels[3].facts == {"of": "strong", "sigma": 60.0, "seed": 0}
    assert {content.scores for content in dataset.contents} == {(1.0, 2.0, 3.0, 4.0)}
    assert all(c.further[0] == tuple(sorted(c.further[0])) for c in dataset.contents)
    source = open_rank_dataset(str(config.output), {})
    assert source.info.pairs == 36 * 6
    assert source.info.further == {"rmse": False}


def test_levels_can_be_listed_before_what_they_are_made_from(hr: Path) -> None:
    levels = {"half": "interpolate:sr:0.5", "sr": "bicubic"}
    config = _config(hr, levels=levels, label="order")
    build(config)
    row = read_manifest(config.output)[0]
    sr, original = _stored(config, row, "sr"), _crop(hr, row)
    assert torch.equal(_stored(config, row, "half").long(), (sr.long() + original.long() + 1) // 2)


def test_further_metrics_are_stored_beside_the_label(hr: Path) -> None:
    config = _config(hr, further=["psnr", "ssim"])
    build(config)
    for row in read_manifest(config.output, ["psnr", "ssim"]):
        crop, original = _stored(config, row), _stored(config, row, "hr")
        assert row.further == (psnr(crop, original).item(), ssim(crop, original).item())
    record = RankDataset.open(config.output).record
    assert [info.name for info in record.further] == ["psnr", "ssim"]


def test_crop_without_a_further_value_is_dropped(hr: Path) -> None:
    for path in hr.iterdir():
        write_image(path, Picture(np.tile(read_image(path).colour, (3, 3, 1))))
    pixels = read_image(hr / "coffee.png").colour.copy()
    pixels[:192, :192] = 90
    write_image(hr / "coffee.png", Picture(pixels))
    config = _config(hr, further=["niqe"], crop=192, stride=96)
    counts = build(config).counts
    assert counts.crops_dropped == {"undefined_score:niqe": 1}
    assert counts.crops_kept == 4 * 4 - 1


def test_sharpness_of_a_level(hr: Path) -> None:
    results = hr.parent / "results"
    for path in hr.iterdir():
        write_image(results / path.name, read_image(path))
    _flatten(results / "coffee.png")
    levels = LEVELS | {"late": str(results)}
    of_hr = build(_config(hr, levels=levels, min_sharpness=0.5))
    assert of_hr.counts.crops_dropped == {}
    config = _config(hr, levels=levels, min_sharpness=0.5, sharpness_of="late", output=hr / "late")
    assert build(config).counts.crops_dropped == {"below_min_sharpness": 4}
    row = read_manifest(config.output)[0]
    sharpness = patch_crops(_stored(config, row, "hr"), 32, 32).sharpness.item()
    assert row.sharpness == pytest.approx(sharpness, abs=1e-9)  # what is stored is HR's


def test_crops_with_too_small_a_gap_are_dropped(hr: Path) -> None:
    everything = _config(hr)
    build(everything)
    scores: dict[tuple[str, int, int], dict[str, float]] = defaultdict(dict)
    for row in read_manifest(everything.output):
        scores[row.source, row.top, row.left][row.level] = row.score
    gaps = {crop: abs(levels["sr"] - levels["mid"]) for crop, levels in scores.items()}
    limit = sorted(gaps.values())[10]  # that one itself is no more than the limit
    config = _config(hr, min_gap=limit, min_gap_levels=["sr", "mid"], output=hr / "gaps")
    assert build(config).counts.crops_dropped == {"below_min_gap": 11}
    kept = {(row.source, row.top, row.left) for row in read_manifest(config.output)}
    assert kept == {crop for crop, gap in gaps.items() if gap > limit}


def test_infinite_scores_have_no_gap(hr: Path) -> None:
    levels = {"a": "hr", "b": "interpolate:c:0", "c": "bicubic"}
    config = _config(hr, levels=levels, metric="psnr", min_gap=0.1, min_gap_levels=["a", "b"])
    with pytest.raises(InvalidDataset, match=r"no crop is left: 36 crop\(s\) below_min_gap"):
        build(config)


def test_crops_are_capped_by_a_choice_of_the_seed(hr: Path) -> None:
    chosen = []
    for seed in (0, 0, 1):
        config = _config(hr, max_crops=4, seed=seed, output=hr.parent / f"{len(chosen)}")
        assert build(config).counts.crops_dropped == {"above_max_crops": 4 * 5}
        boxes = {(row.source, row.top, row.left) for row in read_manifest(config.output)}
        assert Counter(source for source, _, _ in boxes) == dict.fromkeys(NAMES, 4)
        chosen.append(boxes)
    assert chosen[0] == chosen[1] != chosen[2]


def test_some_of_the_sources(hr: Path) -> None:
    results = hr.parent / "results"
    chosen = []
    for seed in range(4):
        config = _config(hr, sources=2, seed=seed, output=hr.parent / f"{seed}")
        counts = build(config).counts
        assert (counts.sources, counts.sources_not_chosen) == (2, 2)
        chosen.append(frozenset(row.source for row in read_manifest(config.output)))
        assert len(chosen[-1]) == 2
    assert len(set(chosen)) > 1
    # Finished results are wanted of the chosen ones only.
    for name in chosen[0]:
        write_image(results / f"{name}.png", read_image(hr / f"{name}.png"))
    build(_config(hr, sources=2, levels=LEVELS | {"late": str(results)}))


def test_whole_images_are_one_content_each(hr: Path) -> None:
    write_image(hr / "wide.png", Picture(read_image(hr / "coffee.png").colour[20:60]))
    config = _config(hr, crop="whole", metric="rmse")
    assert build(config).crops == {"train": 4, "val": 1}
    dataset = RankDataset.open(config.output)
    sizes = {content.source: (content.height, content.width) for content in dataset.contents}
    assert sizes == dict.fromkeys(NAMES, (100, 96)) | {"wide": (40, 96)}
    for row in read_manifest(config.output):
        assert row.score == rmse(_stored(config, row), _stored(config, row, "hr")).item()


def test_whole_images_that_a_metric_cannot_score_are_dropped(hr: Path) -> None:
    write_image(hr / "large.png", Picture(np.tile(read_image(hr / "coffee.png").colour, (2, 2, 1))))
    summary = build(_config(hr, crop="whole", metric="niqe", val=0))
    assert summary.counts.crops_dropped == {"image_too_small": 4}
    assert summary.crops == {"train": 1}


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_are_in_one_split(hr: Path, seed: int) -> None:
    for path in sorted(hr.iterdir())[:2]:
        twin = encode_image(read_image(path), suffix=".jpg", quality=80)
        (hr / f"{path.stem}-again.jpg").write_bytes(twin)
    config = _config(hr, val=0.5, seed=seed)
    summary = build(config)
    groups = (("astronaut", "astronaut-again"), ("chelsea", "chelsea-again"))
    assert summary.duplicates == groups
    assert RankDataset.open(config.output).record.duplicates == groups
    split = {row.source: row.split for row in read_manifest(config.output)}
    assert all(split[one] == split[other] for one, other in groups)
    # Four groups, of which two are for validation.
    assert len({split[name] for name in NAMES}) == 2


class _Blind(_Choosy):
    """NaN where the crop is dark: no error, and no score."""

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        means = images.double().mean((1, 2, 3))
        return torch.where(means < 60, torch.nan, means)


def test_nan_is_no_score(hr: Path) -> None:
    config = _config(hr)
    counts = build(config, scorer=_Blind()).counts
    assert counts.crops_dropped["undefined_score"] + counts.crops_kept == 36
    assert 0 < counts.crops_kept < 36
    assert not any(math.isnan(row.score) for row in read_manifest(config.output))


def test_dataset_of_ties_is_refused(hr: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"every pair is a tie: .* have the same rmse"):
        build(_config(hr, levels={"a": "hr", "b": str(hr)}))
    assert {path.name for path in hr.parent.iterdir()} == {"hr"}


def test_result_of_another_size_is_named(hr: Path) -> None:
    results = hr.parent / "results"
    for path in hr.iterdir():
        write_image(results / path.name, read_image(path))
    write_image(results / "coffee.png", Picture(read_image(hr / "coffee.png").colour[:50]))
    with pytest.raises(InvalidDataset, match=r"level late: .*coffee.png is 98 x 50 pixels"):
        build(_config(hr, levels=LEVELS | {"late": str(results)}))


def test_two_builds_hold_the_same_data(hr: Path) -> None:
    fingerprints = []
    for name in ("a", "b"):
        config = _config(hr, output=hr.parent / name)
        build(config)
        dataset = RankDataset.open(config.output)
        fingerprints.append(dataset.fingerprint(dataset.contents))
    assert fingerprints[0] == fingerprints[1]
