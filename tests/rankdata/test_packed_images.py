from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.rankdata.crops import LevelImages
from ranksrgan.rankdata.dataset import Content, RankDataset
from ranksrgan.rankdata.manifest import read_manifest, write_manifest
from ranksrgan.rankdata.pack import PACK, pack
from ranksrgan.rankdata.packed_images import PackedImages, open_crops
from ranksrgan.rankdata.pairs import PairDataset, open_rank_dataset

LEVELS = ("low", "mid", "high")

# Python 3.12 and later warn of forks where there are threads.
forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(params=[1, 2**30], ids=["many shards", "one shard"])
def packed(hashed: RankDataset, request: pytest.FixtureRequest) -> RankDataset:
    pack(hashed.folder, shard_bytes=request.param)
    return hashed


def _bytes(crops: PackedImages, contents: tuple[Content, ...]) -> list[bytes]:
    return [crops.pixels("mid", content).numpy().tobytes() for content in contents]


def test_crops_are_those_of_the_level_images(packed: RankDataset) -> None:
    reference, crops = LevelImages(packed), PackedImages(packed)
    for content in reversed(packed.contents):
        for level in LEVELS:
            crop, expected = crops.crop(level, content), reference.crop(level, content)
            assert crop.dtype == expected.dtype == torch.float32
            assert torch.equal(crop, expected)
            assert crop.stride() == expected.stride()
            assert torch.equal(crops.pixels(level, content), reference.pixels(level, content))


def test_pixels_belong_to_who_asked(packed: RankDataset) -> None:
    for crops in (LevelImages(packed), PackedImages(packed)):
        first = crops.pixels("low", packed.contents[0])
        expected = first.clone()
        first.zero_()
        assert torch.equal(crops.pixels("low", packed.contents[0]), expected)


def test_a_training_may_change_from_one_to_the_other(packed: RankDataset) -> None:
    folder = str(packed.folder)
    sources = [open_rank_dataset(folder, {"images": images}) for images in ("png", "pack", "auto")]
    assert sources[0].info == sources[1].info == sources[2].info
    streams = zip(*(islice(source.pairs(seed=3, start=5), 30) for source in sources), strict=True)
    for png, *others in streams:
        for other in others:
            assert torch.equal(png.a, other.a)
            assert torch.equal(png.b, other.b)
            assert png.label == other.label
    for png, *others in zip(*(source.contents() for source in sources), strict=True):
        assert all(torch.equal(png.images, other.images) for other in others)


def test_auto_reads_the_pack_where_there_is_one(packed: RankDataset) -> None:
    dataset = PairDataset(packed)
    for path in packed.folder.glob("levels/*/*.png"):
        path.unlink()
    assert dataset[0].a.shape == (3, 8, 8)


def test_auto_without_a_pack_is_silent(
    hashed: RankDataset, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(open_crops(hashed), LevelImages)
    assert not caplog.records
    with pytest.raises(InvalidDataset, match="is not packed"):
        open_crops(hashed, "pack")


def test_a_stale_pack(packed: RankDataset, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row._replace(score=-row.score) for row in read_manifest(packed.folder)]
    write_manifest(packed.folder, rows)
    changed = RankDataset.open(packed.folder)
    with pytest.raises(InvalidDataset, match="another state of the dataset"):
        open_crops(changed, "pack")
    with caplog.at_level(logging.WARNING):
        assert isinstance(open_crops(changed), LevelImages)
    assert "another state of the dataset; pack it again; the level images" in caplog.text


def test_unknown_place(hashed: RankDataset) -> None:
    with pytest.raises(InvalidInput, match="images=lmdb: png, pack or auto is wanted"):
        open_rank_dataset(str(hashed.folder), {"images": "lmdb"})


def test_what_is_not_in_the_pack(packed: RankDataset) -> None:
    crops = PackedImages(packed)
    content = packed.contents[0]
    for level, wanted in (
        ("none", content),
        ("low", content._replace(top=1)),
        ("low", content._replace(width=9)),
    ):
        with pytest.raises(InvalidDataset, match=f"has no crop one@.* at level {level}"):
            crops.pixels(level, wanted)


def test_several_readers_in_one_process(packed: RankDataset) -> None:
    """Of training and validation: LMDB refuses to open a file twice."""
    train, val = PackedImages(packed), PackedImages(packed)
    content = packed.contents[0]
    assert torch.equal(train.crop("low", content), val.crop("low", content))
    del train
    val.crop("low", content)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: _bytes(val, packed.contents), range(64)))
    assert found == [_bytes(val, packed.contents)] * 64


def test_threads_may_be_the_first(packed: RankDataset) -> None:
    expected = _bytes(PackedImages(packed), packed.contents)
    for _ in range(20):
        read = partial(_bytes, PackedImages(packed))
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, [packed.contents] * 8)) == [expected] * 8


@forks
def test_survives_a_fork(packed: RankDataset) -> None:
    """Open in the parent, shared by two objects, read in the child and in the parent again."""
    train, val = PackedImages(packed), PackedImages(packed)
    expected = _bytes(train, packed.contents)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            same = _bytes(val, packed.contents) == _bytes(train, packed.contents) == expected
            os.write(write, b"same" if same else b"different")
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        assert answer.read() == b"same"
    assert os.waitpid(child, 0)[1] == 0
    assert _bytes(val, packed.contents) == expected


def test_goes_to_other_processes(hashed: RankDataset) -> None:
    pack(hashed.folder)
    crops = PackedImages(hashed)
    expected = _bytes(crops, hashed.contents)
    assert _bytes(pickle.loads(pickle.dumps(crops)), hashed.contents) == expected
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        for content in hashed.contents:
            for level in content.levels:
                found = processes.submit(crops.crop, level, content).result()
                assert torch.equal(found, crops.crop(level, content))


@forks
def test_works_in_workers_of_a_data_loader(packed: RankDataset) -> None:
    dataset = PairDataset(packed, images="pack")
    dataset[0]
    alone = list(DataLoader(dataset, batch_size=7))
    workers = list(DataLoader(dataset, batch_size=7, num_workers=2, multiprocessing_context="fork"))
    assert len(alone) == len(workers) == 2
    for one, other in zip(alone, workers, strict=True):
        assert torch.equal(one.a, other.a)
        assert torch.equal(one.b, other.b)


def test_packed_again_while_in_use(packed: RankDataset) -> None:
    reading, waiting = PackedImages(packed), PackedImages(packed)
    expected = _bytes(reading, packed.contents)
    del waiting
    unopened = PackedImages(packed)
    (packed.folder / PACK / "index.json").write_text("{}")
    pack(packed.folder)
    # Whoever has the files open reads on; they are gone when nobody does.
    assert _bytes(reading, packed.contents) == expected
    assert _bytes(unopened, packed.contents) == expected
    del reading, unopened
    assert _bytes(PackedImages(packed), packed.contents) == expected


def test_packed_again_before_it_was_read(packed: RankDataset) -> None:
    unopened = PackedImages(packed)
    kept = packed.folder / "kept"  # so that the new file cannot get the old one's number
    (packed.folder / PACK).rename(kept)
    pack(packed.folder)
    with pytest.raises(InvalidDataset, match="was packed again while it was in use"):
        unopened.pixels("low", packed.contents[0])


def test_the_pack_is_gone_before_it_was_read(packed: RankDataset) -> None:
    crops = PackedImages(packed)
    (packed.folder / PACK).rename(packed.folder / "moved")
    with pytest.raises(InvalidDataset, match=r"00000\.mdb cannot be read"):
        crops.pixels("low", packed.contents[0])
