from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.manifest import (
    MANIFEST,
    RECORD,
    read_manifest,
    read_record,
    write_manifest,
    write_record,
)
from ranksrgan.rankdata.pairs import FolderPairSource, PairDataset

SCORES = {("one", "train", 0): (5.0, 4.0), ("two", "val", 3): (1.0, 2.0)}


@pytest.fixture
def folder(write_dataset: Callable[..., Path]) -> Path:
    return write_dataset(SCORES)


def test_rows_are_grouped_by_content(folder: Path) -> None:
    dataset = RankDataset.open(folder)
    assert dataset.levels == ("low", "high")
    assert [(content.name, content.split, content.scores) for content in dataset.contents] == [
        ("one@0,2", "train", (5.0, 4.0)),
        ("two@3,2", "val", (1.0, 2.0)),
    ]
    assert dataset.splits == ("train", "val")
    assert [content.source for content in dataset.select("val")] == ["two"]


def test_order_of_rows_and_columns_does_not_matter(folder: Path) -> None:
    expected = RankDataset.open(folder).contents
    write_manifest(folder, read_manifest(folder)[::-1])
    assert RankDataset.open(folder).contents == expected


def test_missing_level_image_is_named(folder: Path) -> None:
    (folder / "levels" / "high" / "two.png").unlink()
    with pytest.raises(InvalidDataset, match="level high has no image of two"):
        RankDataset.open(folder)


def test_changed_level_image_is_found_when_asked(folder: Path) -> None:
    RankDataset.open(folder)  # the hashes of this fixture are made up
    with pytest.raises(InvalidDataset, match="level low: the image of one was changed"):
        RankDataset.open(folder, check_hashes=True)


def test_absent_split(folder: Path) -> None:
    with pytest.raises(InvalidDataset, match="no split 'test'; it has train, val"):
        RankDataset.open(folder).select("test")


def test_newer_format_is_refused(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | {"format": 3, "new": "thing"}))
    with pytest.raises(InvalidDataset, match="format 3; this version reads up to 2"):
        RankDataset.open(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "x"}'])
def test_damaged_record(folder: Path, text: str) -> None:
    (folder / RECORD).write_text(text)
    with pytest.raises(InvalidDataset, match=r"dataset\.json"):
        RankDataset.open(folder)


def test_no_dataset_at_all(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"is no rank dataset: it has no dataset\.json"):
        RankDataset.open(tmp_path)


def test_damaged_or_missing_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:100])
    with pytest.raises(InvalidDataset, match="damaged"):
        RankDataset.open(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(InvalidDataset, match="has no manifest"):
        RankDataset.open(folder)


def test_contradictions(folder: Path) -> None:
    rows = read_manifest(folder)
    cases = {
        "has no score at level high": [
            row for row in rows if (row.source, row.level) != ("two", "high")
        ],
        "two rows of one@0,2": [*rows, rows[0]],
        "in two splits": [*rows, rows[0]._replace(top=9, split="val")],
        "the levels are low, high": [*rows, rows[0]._replace(level="other")],
        "two hashes": [*rows, rows[0]._replace(top=9, sha256="1" * 64)],
        "not a number": [rows[0]._replace(score=float("nan")), *rows[1:]],
        "impossible box": [rows[0]._replace(top=-1), *rows[1:]],
        "no name of an image": [rows[0]._replace(source="../../secret"), *rows[1:]],
        "split 'dev'": [rows[0]._replace(split="dev"), *rows[1:]],
    }
    for message, changed in cases.items():
        write_manifest(folder, changed)
        with pytest.raises(InvalidDataset, match=message):
            RankDataset.open(folder)


def test_fingerprint_follows_scores_and_boxes(write_dataset: Callable[..., Path]) -> None:
    def fingerprint(scores: dict[tuple[str, str, int], tuple[float, float]]) -> str:
        dataset = RankDataset.open(write_dataset(scores))
        return dataset.fingerprint(dataset.contents)

    base = fingerprint(SCORES)
    assert fingerprint(SCORES) == base
    assert fingerprint(SCORES | {("two", "val", 3): (1.0, 2.0 + 1e-12)}) != base
    assert fingerprint({("one", "train", 0): (5.0, 4.0), ("two", "val", 4): (1.0, 2.0)}) != base


def test_the_record_is_json_though_a_scorer_has_no_bound(folder: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    content = json.loads((folder / RECORD).read_text(), parse_constant=refuse)
    assert content["metric"]["highest"] is None
    metric = RankDataset.open(folder).metric
    assert metric.highest == math.inf
    assert metric.lowest == -math.inf


def test_the_first_format_is_read(folder: Path) -> None:
    """Its boxes were squares of ``size``, and it knew one metric."""
    expected = RankDataset.open(folder).contents
    table = pq.read_table(folder / MANIFEST)
    table = table.drop_columns(["width"]).rename_columns({"height": "size"})
    pq.write_table(table, folder / MANIFEST)
    record = json.loads((folder / RECORD).read_text())
    del record["label"], record["further"]
    (folder / RECORD).write_text(json.dumps(record | {"format": 1}))
    assert RankDataset.open(folder).contents == expected


def test_further_metrics_are_kept_by_name(folder: Path) -> None:
    rows = [row._replace(further=(row.score * 2, -row.score)) for row in read_manifest(folder)]
    write_manifest(folder, rows, ["double", "negative"])
    assert pq.read_schema(folder / MANIFEST).names[-2:] == ["score:double", "score:negative"]
    record = read_record(folder)
    infos = tuple(replace(record.metric, name=name) for name in ("double", "negative"))
    write_record(folder, record.model_copy(update={"further": infos}))
    dataset = RankDataset.open(folder)
    assert dataset.contents[0].further == ((10.0, 8.0), (-5.0, -4.0))
    content = PairDataset(dataset).versions(0)
    assert {name: values.tolist() for name, values in content.further.items()} == {
        "double": [10.0, 8.0],
        "negative": [-5.0, -4.0],
    }
    assert FolderPairSource(PairDataset(dataset)).info.further == dict.fromkeys(
        ("double", "negative"), False
    )


def test_only_judged_contents_may_lack_a_level(write_dataset: Callable[..., Path]) -> None:
    folder = write_dataset({("one", "train", 0): (5.0, 4.0, 3.0)}, levels=("a", "b", "c"))
    write_manifest(folder, [row for row in read_manifest(folder) if row.level != "b"])
    with pytest.raises(InvalidDataset, match="one@0,2 has no score at level b"):
        RankDataset.open(folder)
    record = read_record(folder)
    write_record(folder, record.model_copy(update={"label": "votes"}))
    dataset = RankDataset.open(folder)
    assert (dataset.contents[0].levels, dataset.contents[0].scores) == (("a", "c"), (5.0, 3.0))
    assert PairDataset(dataset)[0].label == 1.0
    write_manifest(folder, [row for row in read_manifest(folder) if row.level == "a"])
    with pytest.raises(InvalidDataset, match="one@0,2 has one version only"):
        RankDataset.open(folder)
