from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.metrics import patch_crops
from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.crops import LevelImages
from ranksrgan.rankdata.manifest import read_record
from ranksrgan.rankdata.official_labels import ImportConfig, export_labels, import_labels
from ranksrgan.rankdata.pairs import PairDataset
from ranksrgan.rankdata.split import split_sources

LEVELS = ("low", "mid", "high")


@pytest.fixture
def exported(by_hand: RankDataset, tmp_path: Path) -> Path:
    folder = tmp_path / "official"
    assert export_labels(by_hand, folder) == 6
    return folder


def _config(folder: Path, **settings: Any) -> ImportConfig:
    values: dict[str, Any] = {
        "levels": {level: folder / level for level in LEVELS},
        "labels": folder / "labels.txt",
        "output": folder.parent / "ranks",
    }
    return ImportConfig.model_validate(values | settings)


def test_the_official_form(by_hand: RankDataset, exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "high",
        "labels.metric.yaml",
        "labels.txt",
        "low",
        "mid",
        "sources.csv",
    ]
    assert (exported / "labels.txt").read_text().splitlines()[:4] == [
        "1_low.png 5.000000",
        "1_mid.png 4.000000",
        "1_high.png 3.000000",
        "2_low.png 5.000000",
    ]
    assert (exported / "labels.metric.yaml").read_text() == (
        "metric: niqe\nhigher_is_better: false\n"
    )
    assert (exported / "sources.csv").read_text().splitlines()[:3] == [
        "patch,source,split,top,left",
        "1,one,train,0,2",
        "2,one,train,8,2",
    ]
    for number, content in enumerate(by_hand.contents, start=1):
        for level in LEVELS:
            image = read_image(by_hand.image_path(level, content.source)).colour
            patch = read_image(exported / level / f"{number}_{level}.png").colour
            top, left = content.top, content.left
            np.testing.assert_array_equal(patch, image[top : top + 8, left : left + 8])


def test_round_trip(by_hand: RankDataset, tmp_path: Path) -> None:
    """The same crops, and scores to six decimals."""
    random = np.random.default_rng(0)
    contents = [
        content._replace(scores=tuple(random.normal(5, 2, 3).tolist()))
        for content in by_hand.contents
    ]
    original = replace(by_hand, contents=tuple(contents))
    export_labels(original, tmp_path / "official")
    dataset = import_labels(_config(tmp_path / "official", val=0.5))
    RankDataset.open(dataset.folder, check_hashes=True)
    assert dataset.levels == LEVELS
    assert (dataset.metric.name, dataset.metric.higher_is_better) == ("niqe", False)
    before, after = LevelImages(original), LevelImages(dataset)
    assert [content.source for content in dataset.contents] == list("123456")
    for expected, content in zip(contents, dataset.contents, strict=True):
        assert (content.top, content.left, content.height, content.width) == (0, 0, 8, 8)
        assert content.scores == tuple(round(score, 6) for score in expected.scores)
        for level in LEVELS:
            crop = before.pixels(level, expected)
            assert torch.equal(after.pixels(level, content), crop)
        sharpness = patch_crops(before.pixels("low", expected)[None], 8, 1).sharpness
        assert content.sharpness == pytest.approx(float(sharpness))
    assert len(PairDataset(dataset)) == 18


def test_some_levels_of_one_split_in_another_order(by_hand: RankDataset, tmp_path: Path) -> None:
    folder = tmp_path / "official"
    steps: list[tuple[int, int, str]] = []
    count = export_labels(
        by_hand,
        folder,
        split="val",
        levels=("high", "low"),
        progress=lambda *step: steps.append(step),
    )
    assert count == 2
    assert steps == [(1, 2, "three"), (2, 2, "three")]
    assert (folder / "labels.txt").read_text() == (
        "1_high.png 4.500000\n1_low.png 6.000000\n2_high.png 1.000000\n2_low.png 6.000000\n"
    )
    assert not (folder / "mid").exists()


def test_output_is_the_current_folder(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(exported)
    config.output.mkdir()
    monkeypatch.chdir(config.output)
    dataset = import_labels(config.model_copy(update={"output": Path()}))
    assert len(RankDataset.open(config.output).contents) == len(dataset.contents) == 6


def test_from_the_official_form_alone_the_split_is_by_patch(exported: Path) -> None:
    dataset = import_labels(_config(exported, val=0.5))
    assert read_record(dataset.folder).config["split_by"] == "patch"
    assert {split: len(dataset.select(split)) for split in dataset.splits} == {"train": 3, "val": 3}


def test_patches_of_one_image_stay_together(exported: Path) -> None:
    config = _config(exported, val=0.5, sources=exported / "sources.csv")

    def torn(seed: int) -> bool:
        """Whether a split by patch alone parts those of source one."""
        split = split_sources("123456", config.fractions, seed)
        return len({split[patch] for patch in "123"}) > 1

    config = config.model_copy(update={"seed": next(seed for seed in range(99) if torn(seed))})
    dataset = import_labels(config)
    split = {content.source: content.split for content in dataset.contents}
    assert split["1"] == split["2"] == split["3"]
    assert split["4"] == split["5"]  # of source three
    assert read_record(dataset.folder).config["split_by"] == "source"
    alone = import_labels(config.model_copy(update={"sources": None}), overwrite=True)
    assert len({content.split for content in alone.contents[:3]}) == 2


def test_patches_of_two_copies_of_one_image_stay_together(exported: Path) -> None:
    for level in LEVELS:  # source three becomes a copy of the beginning of source one
        for copied, patch in (("1", "5"), ("2", "6")):
            shutil.copy(
                exported / level / f"{copied}_{level}.png",
                exported / level / f"{patch}_{level}.png",
            )
    table = exported / "sources.csv"
    table.write_text("patch,source\n1,one\n2,one\n3,two\n4,four\n5,three\n6,three\n")
    for seed in range(6):
        config = _config(exported, val=0.5, sources=table, seed=seed)
        dataset = import_labels(config, overwrite=True)
        split = {content.source: content.split for content in dataset.contents}
        assert split["1"] == split["2"] == split["5"] == split["6"]
        assert set(split.values()) == {"train", "val"}


def test_the_merged_folder_of_the_official_validation(exported: Path, tmp_path: Path) -> None:
    merged = tmp_path / "DF2K_test_patch_all"
    for level in LEVELS:
        for path in (exported / level).iterdir():
            write_image(merged / path.name, read_image(path))
    apart = import_labels(_config(exported))
    config = _config(exported, levels=dict.fromkeys(LEVELS, merged), output=tmp_path / "again")
    together = import_labels(config)
    assert together.contents == apart.contents
    assert together.hashes == apart.hashes


def test_levels_one_of_which_ends_like_another(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "patches"
    names = {"low": "v2", "mid": "esrgan_v2"}
    lines = []
    for level, name in names.items():
        for path in (exported / level).iterdir():
            number = path.stem.partition("_")[0]
            write_image(folder / f"{number}_{name}.png", read_image(path))
            lines.append(f"{number}_{name}.png {len(name)}")
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    config = _config(tmp_path, levels=dict.fromkeys(names.values(), folder))
    dataset = import_labels(config)
    assert {content.scores for content in dataset.contents} == {(2.0, 9.0)}
    assert len(dataset.contents) == 6


def test_what_was_exported_says_of_which_metric_it_is(by_hand: RankDataset, tmp_path: Path) -> None:
    opinions = replace(by_hand.metric, name="opinions", higher_is_better=True)
    record = by_hand.record.model_copy(update={"metric": opinions})
    export_labels(replace(by_hand, record=record), tmp_path / "official")
    dataset = import_labels(_config(tmp_path / "official"))
    assert (dataset.metric.name, dataset.metric.higher_is_better) == ("opinions", True)
    assert read_record(dataset.folder).config["metric"] == "opinions"


def test_infinite_values(exported: Path) -> None:
    labels = exported / "labels.txt"
    labels.write_text(labels.read_text().replace("1_high.png 3.000000", "1_high.png Inf"))
    assert import_labels(_config(exported)).contents[0].scores[2] == math.inf


def test_values_as_matlab_and_windows_write_them(exported: Path) -> None:
    expected = import_labels(_config(exported)).contents
    labels = exported / "labels.txt"
    lines = [f"C:\\data\\{line}" for line in labels.read_text().splitlines()]
    labels.write_bytes(
        "\r\n".join(["\ufeff" + lines[0].replace(" ", "\t"), *lines[1:], ""]).encode()
    )
    assert import_labels(_config(exported), overwrite=True).contents == expected


def _edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return edit


def _repaint(path: Path, height: int, width: int) -> None:
    write_image(path, Picture(np.zeros((height, width, 3), np.uint8)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _edit("labels.txt", "3_mid.png 5.000000", "3_mid.png four"),
            r"labels\.txt:8: '3_mid\.png four",
        ),
        (_edit("labels.txt", "3_mid.png 5.000000", "3_mid.png"), r"labels\.txt:8: .* is no label"),
        *(
            (_edit("labels.txt", "3_mid.png 5.000000", f"3_mid.png {text}"), r"txt:8: .* no label")
            for text in ("nan", "1_0", "\N{ARABIC-INDIC DIGIT ONE}", "1e999", "-infinity")
        ),
        (_edit("labels.txt", "3_mid.png", "3_low.png"), r"txt:8: 3_low has .* already \(.*txt:7\)"),
        (_edit("labels.txt", "3_mid.png 5.000000\n", ""), r"labels\.txt has no line of 3_mid\.png"),
        (
            lambda folder: [(folder / level / f"6_{level}.png").unlink() for level in LEVELS],
            r"labels\.txt:16: there is no patch 6_low in .*low, .*mid, .*high",
        ),
        (
            lambda folder: (folder / "mid" / "6_mid.png").unlink(),
            r"mid has no patch 6_mid; there is .*low/6_low\.png",
        ),
        (
            lambda folder: (folder / "low" / "6_low.png").unlink(),
            r"low has no patch 6_low; there is .*mid/6_mid\.png",
        ),
        (
            lambda folder: _repaint(folder / "mid" / "extra.png", 8, 8),
            r"extra\.png: the name of a patch ends in _ and its level \(low, mid, high\)",
        ),
        (
            lambda folder: _repaint(folder / "mid" / "_mid.png", 8, 8),
            r"/_mid\.png: the name of a patch ends in",
        ),
        (
            lambda folder: _repaint(folder / "mid" / "2_mid.bmp", 8, 8),
            r"2_mid\.png: this patch is there already \(.*2_mid\.bmp\)",
        ),
        (
            lambda folder: _repaint(folder / "mid" / "2_mid.png", 8, 9),
            r"2_mid\.png is 9 x 8 pixels, .*2_low\.png 8 x 8",
        ),
        (lambda folder: (folder / "labels.txt").unlink(), r"labels\.txt: No such file"),
        (lambda folder: (folder / "labels.txt").write_bytes(b"\xff"), r"labels\.txt is not text"),
        (
            lambda folder: (folder / "labels.txt").write_text(
                "".join(f"{n}_{level}.png 1\n" for n in range(1, 7) for level in LEVELS)
            ),
            "every pair is a tie",
        ),
    ],
)
def test_wrong_files(exported: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(exported)
    with pytest.raises(InvalidDataset, match=message):
        import_labels(_config(exported))
    assert not (exported.parent / "ranks").exists()


def test_sources_that_do_not_name_a_patch(exported: Path) -> None:
    path = exported / "sources.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(InvalidDataset, match=r"sources\.csv does not say which image patch 6"):
        import_labels(_config(exported, sources=path))


def test_level_folders(exported: Path) -> None:
    with pytest.raises(InvalidInput, match="none is not a folder"):
        import_labels(_config(exported, levels={"low": exported / "low", "x": exported / "none"}))
    with pytest.raises(ValueError, match="at least 2"):
        _config(exported, levels={"low": exported / "low"})


@pytest.mark.parametrize("levels", [("low",), ("low", "low"), ("low", "best"), ()])
def test_levels_that_cannot_be_exported(
    by_hand: RankDataset, tmp_path: Path, levels: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidInput, match="two or more of low, mid, high are wanted, each once"):
        export_labels(by_hand, tmp_path / "official", levels=levels)


def test_a_content_without_a_level(by_hand: RankDataset, tmp_path: Path) -> None:
    first, *rest = by_hand.contents
    judged = first._replace(levels=("low", "mid"), scores=(1.0, 2.0))
    dataset = replace(by_hand, contents=(judged, *rest))
    message = re.escape("one@0,2 has no version of level high")
    with pytest.raises(InvalidDataset, match=message):
        export_labels(dataset, tmp_path / "official")
    assert not (tmp_path / "official").exists()
    assert export_labels(dataset, tmp_path / "official", levels=("mid", "low")) == 6


def test_folders_that_are_taken(by_hand: RankDataset, exported: Path) -> None:
    with pytest.raises(InvalidInput, match="holds files that are no rank dataset"):
        export_labels(by_hand, exported)
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        export_labels(by_hand, by_hand.folder)
    with pytest.raises(InvalidInput, match="already holds a dataset"):
        import_labels(_config(exported, output=by_hand.folder))
