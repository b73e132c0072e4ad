from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest

from ranksrgan.contracts.errors import DiskFull, InvalidDataset, InvalidInput
from ranksrgan.contracts.images import read_image
from ranksrgan.rankdata.dataset import RankDataset
from ranksrgan.rankdata.manifest import level_image, read_manifest, write_manifest
from ranksrgan.rankdata.pack import INDEX, PACK, pack, read_index

#: Pixels of one content: three levels of 8 x 8.
CONTENT = 3 * 3 * 8 * 8


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def test_values_are_the_pixels(hashed: RankDataset) -> None:
    index = pack(hashed.folder)
    assert [(shard.file, shard.first, shard.contents) for shard in index.shards] == [
        ("00000.mdb", 0, 6)
    ]
    # Read as somebody else would who knows the key from the module's head alone.
    with (
        lmdb.open(str(hashed.folder / PACK / "00000.mdb"), subdir=False, readonly=True) as pages,
        pages.begin() as transaction,
    ):
        assert transaction.stat()["entries"] == 18
        for place, content in enumerate(hashed.contents):
            for number, level in enumerate(hashed.levels):
                value = transaction.get(place.to_bytes(4, "big") + number.to_bytes(2, "big"))
                image = read_image(hashed.image_path(level, content.source)).colour
                crop = image[content.top : content.top + 8, content.left : content.left + 8]
                assert value == crop.transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize(
    ("shard_bytes", "contents"),
    [(1, [1] * 6), (2 * CONTENT, [2, 2, 2]), (4 * CONTENT + 1, [4, 2]), (2**30, [6])],
)
def test_shards_by_size(hashed: RankDataset, shard_bytes: int, contents: list[int]) -> None:
    steps: list[tuple[int, int, str]] = []
    index = pack(hashed.folder, shard_bytes=shard_bytes, progress=lambda *s: steps.append(s))
    assert [shard.contents for shard in index.shards] == contents
    assert [shard.first for shard in index.shards] == [
        sum(contents[:number]) for number in range(len(contents))
    ]
    files = sorted((hashed.folder / PACK).glob("*.mdb"))
    assert [file.stat().st_size for file in files] == [shard.bytes for shard in index.shards]
    assert index.bytes == sum(shard.bytes for shard in index.shards)
    assert steps[-1][:2] == (6, 6)
    assert read_index(hashed) == index


def test_a_pack_of_this_state_is_left_alone(hashed: RankDataset) -> None:
    first = pack(hashed.folder)
    before = _files(hashed.folder)
    stamp = (hashed.folder / PACK / INDEX).stat().st_mtime_ns
    assert pack(hashed.folder) == first
    assert (hashed.folder / PACK / INDEX).stat().st_mtime_ns == stamp
    assert _files(hashed.folder) == before


def test_a_stale_pack_is_refused_and_replaced(hashed: RankDataset) -> None:
    first = pack(hashed.folder)
    rows = [row._replace(score=row.score + 1) for row in read_manifest(hashed.folder)]
    write_manifest(hashed.folder, rows)
    changed = RankDataset.open(hashed.folder)
    with pytest.raises(InvalidDataset, match="packed from another state"):
        read_index(changed)
    second = pack(hashed.folder)
    assert second.fingerprint != first.fingerprint
    assert read_index(changed) == second
    assert not list(hashed.folder.glob(".*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "is not packed: ranksrgan-rankdata pack"),
        (lambda folder: (folder / INDEX).write_text("{"), "index.json is damaged"),
        (lambda folder: (folder / INDEX).write_text("[]"), "index.json is damaged"),
        (lambda folder: (folder / INDEX).write_bytes(b"\xff"), "index.json is damaged"),
        (lambda folder: (folder / "00000.mdb").unlink(), r"00000\.mdb is missing"),
        (lambda folder: os.truncate(folder / "00000.mdb", 4096), r"00000\.mdb .* was cut short"),
    ],
)
def test_a_damaged_pack_is_refused_and_replaced(
    hashed: RankDataset, damage: Callable[[Path], None], message: str
) -> None:
    whole = pack(hashed.folder)
    damage(hashed.folder / PACK)
    with pytest.raises(InvalidDataset, match=message):
        read_index(hashed)
    assert pack(hashed.folder) == whole
    assert read_index(hashed) == whole


def test_another_format(hashed: RankDataset) -> None:
    pack(hashed.folder)
    path = hashed.folder / PACK / INDEX
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2, "new": 1}))
    with pytest.raises(InvalidDataset, match="of format 2; this version reads 1"):
        read_index(hashed)


def test_a_changed_image_is_not_packed(hashed: RankDataset) -> None:
    shutil.copy(level_image(hashed.folder, "low", "one"), level_image(hashed.folder, "low", "two"))
    with pytest.raises(InvalidDataset, match="level low: the image of two was changed"):
        pack(hashed.folder)
    assert not (hashed.folder / PACK).exists()


def test_no_room_is_found_out_before_the_work(
    hashed: RankDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(6 * CONTENT - 1))
    with pytest.raises(DiskFull, match=r"takes 0\.0 GB in 1 file"):
        pack(hashed.folder)
    assert not (hashed.folder / PACK).exists()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(6 * CONTENT))
    pack(hashed.folder)


def test_a_disk_that_fills_up_leaves_what_was_there(hashed: RankDataset) -> None:
    """No file may grow beyond 10 kB: to LMDB that is a disk that takes no more."""
    pack(hashed.folder)
    rows = [row._replace(score=-row.score) for row in read_manifest(hashed.folder)]
    write_manifest(hashed.folder, rows)
    before = _files(hashed.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DiskFull, match=r"cannot be written, is the disk full\?"):
            pack(hashed.folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _files(hashed.folder) == before
    assert not list(hashed.folder.glob(".*"))


def test_what_a_killed_process_left_is_removed(hashed: RankDataset) -> None:
    for name in (".pack-unfinished", ".pack-old"):
        (hashed.folder / name).mkdir()
        (hashed.folder / name / "00000.mdb").write_bytes(b"half of one")
    pack(hashed.folder)
    assert not list(hashed.folder.glob(".*"))


def test_one_process_at_a_time(hashed: RankDataset) -> None:
    handle = os.open(hashed.folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="is being packed by another process"):
            pack(hashed.folder)
    finally:
        os.close(handle)
    pack(hashed.folder)


def test_impossible_shards(hashed: RankDataset) -> None:
    with pytest.raises(InvalidInput, match="shard_bytes=0"):
        pack(hashed.folder, shard_bytes=0)
