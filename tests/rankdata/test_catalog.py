"""The datasets of a data root: which are shown, when they are opened, and how they are shared."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import (
    InvalidDataset,
    InvalidInput,
    ServiceUnavailable,
    UnknownName,
)
from ranksrgan.contracts.pairs import PairSelection
from ranksrgan.rankdata import FolderPairSource, PairDataset, RankDataset
from ranksrgan.rankdata.catalog import KEPT_OPEN, DatasetCatalog
from ranksrgan.rankdata.manifest import RECORD

Write = Callable[..., Path]

SCORES = {
    ("one", "train", 0): (5.0, 4.0),
    ("one", "train", 8): (3.0, 3.0),
    ("two", "val", 0): (1.0, 2.0),
}


@pytest.fixture
def root(tmp_path: Path, write_dataset: Write) -> DataRoot:
    """Two datasets, ``a`` and ``b``, and things that are none."""
    made = write_dataset(SCORES)
    folder = tmp_path / "root"
    for name in ("a", "b"):
        shutil.copytree(made, folder / "datasets" / name)
    (folder / "datasets" / "empty").mkdir()
    (folder / "datasets" / ".c.building" / "dataset").mkdir(parents=True)
    (folder / "datasets" / "note.txt").touch()
    return DataRoot(folder)


def names(catalog: DatasetCatalog, after: str = "", limit: int = 100) -> list[str]:
    return [info.name for info in catalog.infos(after, limit)]


def test_complete_datasets_are_listed(root: DataRoot) -> None:
    catalog = DatasetCatalog(root)
    assert names(catalog) == ["datasets/a", "datasets/b"]
    assert names(catalog, limit=1) == ["datasets/a"]
    assert names(catalog, after="datasets/a") == ["datasets/b"]
    assert names(catalog, after="datasets/b") == []
    shutil.copytree(root.folder / "datasets" / "a", root.folder / "datasets" / "aa")
    assert names(catalog, after="datasets/a") == ["datasets/aa", "datasets/b"]


def test_a_root_without_datasets(tmp_path: Path) -> None:
    assert names(DatasetCatalog(DataRoot(tmp_path))) == []


def test_the_facts_of_one(root: DataRoot) -> None:
    info = DatasetCatalog(root).info("datasets/a")
    assert (info.metric, info.higher_is_better, info.levels) == ("niqe", False, ("low", "high"))
    assert info.sources == {"train": 1, "val": 1}
    assert info.contents == {"train": 2, "val": 1}
    assert info.dropped == {"undefined_score": 3}
    assert info.crop == 8
    written = (root.folder / "datasets" / "a" / RECORD).stat().st_mtime
    assert info.created == datetime.fromtimestamp(written, UTC)


def test_a_damaged_dataset_is_left_out_and_says_why(
    root: DataRoot, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = DatasetCatalog(root)
    (root.folder / "datasets" / "a" / "levels" / "low" / "one.png").unlink()
    with caplog.at_level(logging.WARNING):
        assert names(catalog) == ["datasets/b"]
    assert "datasets/a is left out" in caplog.text
    for look in (catalog.info, lambda name: catalog.open(name, PairSelection())):
        with pytest.raises(InvalidDataset, match=r"datasets/a/levels/low/one\.png") as caught:
            look("datasets/a")
        assert str(root.folder) not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("datasets/missing", UnknownName),
        ("datasets/empty", InvalidDataset),
        ("datasets/note.txt", InvalidDataset),
        ("datasets/.c.building", InvalidInput),
        ("datasets/../datasets/a", InvalidInput),
        ("images/a", InvalidInput),
        ("a", InvalidInput),
        ("", InvalidInput),
    ],
)
def test_names_of_no_dataset(root: DataRoot, name: str, error: type[Exception]) -> None:
    catalog = DatasetCatalog(root)
    for look in (catalog.info, lambda name: catalog.open(name, PairSelection())):
        with pytest.raises(error) as caught:
            look(name)
        assert type(caught.value) is error


def test_a_dataset_that_was_replaced_is_opened_again(root: DataRoot, write_dataset: Write) -> None:
    catalog = DatasetCatalog(root)
    before, opened = catalog.info("datasets/a"), catalog.open("datasets/a", PairSelection())
    folder = root.folder / "datasets" / "a"
    shutil.rmtree(folder)
    shutil.copytree(write_dataset({("one", "train", 0): (1.0, 2.0)}), folder)
    os.utime(folder / RECORD, (1, 1))
    assert before.contents == {"train": 2, "val": 1}
    assert catalog.info("datasets/a").contents == {"train": 1}
    again = catalog.open("datasets/a", PairSelection())
    assert (opened.info.contents, again.info.contents) == (3, 1)
    shutil.rmtree(folder)
    with pytest.raises(UnknownName):
        catalog.info("datasets/a")


def test_streams_end_when_their_dataset_is_replaced_or_removed(
    root: DataRoot, write_dataset: Write
) -> None:
    catalog = DatasetCatalog(root)
    opened = catalog.open("datasets/a", PairSelection())
    pairs, shuffled, contents = opened.pairs(0), opened.shuffled_contents(0), opened.contents()
    next(pairs)
    next(shuffled)
    before = next(contents)
    folder = root.folder / "datasets" / "a"
    folder.rename(root.folder / "before")
    shutil.copytree(write_dataset({key: scores[::-1] for key, scores in SCORES.items()}), folder)
    for stream in (pairs, shuffled, contents):
        with pytest.raises(ServiceUnavailable, match="datasets/a was replaced or removed"):
            next(stream)
    contents = catalog.open("datasets/a", PairSelection()).contents()
    assert next(contents).scores.tolist() == before.scores.tolist()[::-1]
    shutil.rmtree(folder)
    with pytest.raises(ServiceUnavailable, match="datasets/a was replaced or removed"):
        next(contents)


def test_what_is_read_is_open_once(root: DataRoot) -> None:
    catalog = DatasetCatalog(root)
    read = catalog.open("datasets/a", PairSelection())
    assert catalog.open("datasets/a", PairSelection()) is read
    assert catalog.open("datasets/a", PairSelection("val")) is not read
    gaps = [catalog.open("datasets/b", PairSelection(min_gap=g)) for g in range(2 * KEPT_OPEN)]
    assert len({id(pairs) for pairs in gaps}) == 2 * KEPT_OPEN
    # Still in use, though others were opened since.
    assert catalog.open("datasets/a", PairSelection()) is read


def test_streams_in_several_threads_are_the_folders(root: DataRoot) -> None:
    pairs = DatasetCatalog(root).open("datasets/a", PairSelection(ties="keep"))
    alone = FolderPairSource(
        PairDataset(RankDataset.open(root.folder / "datasets" / "a"), ties="keep")
    )
    found: dict[int, list[torch.Tensor]] = {}

    def read(seed: int) -> None:
        found[seed] = [pair.a for pair in islice(pairs.pairs(seed), 40)]

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        expected = [pair.a for pair in islice(alone.pairs(seed), 40)]
        assert all(map(torch.equal, found[seed], expected))


def test_contents_from_anywhere(root: DataRoot) -> None:
    pairs = DatasetCatalog(root).open("datasets/a", PairSelection())
    whole = [content.content for content in pairs.contents()]
    assert whole == ["one@0,2", "one@8,2", "two@0,2"]
    assert [content.content for content in pairs.contents(1)] == whole[1:]
    assert [content.content for content in pairs.contents(0, 2)] == whole[::2]
    assert list(pairs.contents(3)) == []
