from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import (
    DiskFull,
    InvalidDataset,
    InvalidImage,
    InvalidInput,
    NotSupported,
    RequestCancelled,
)
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.srgan.cli import main
from ranksrgan.srgan.data import packed_images
from ranksrgan.srgan.data.image_store import FolderImages, fingerprint
from ranksrgan.srgan.data.packed_images import INDEX, PIXELS, PackedImages, is_pack, pack


def test_a_pack_holds_what_the_folder_does(hr_folder: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 9, 1), dtype=np.uint16)
    write_image(hr_folder / "deep.png", Picture(deep))  # becomes 8-bit RGB
    index = pack(hr_folder, tmp_path / "pack")
    folder, packed = FolderImages(hr_folder, 0, 2), PackedImages(tmp_path / "pack")
    assert packed.entries == folder.entries == list(index.images)
    assert fingerprint(packed.entries) == fingerprint(folder.entries)
    assert packed.kept_bytes == folder.kept_bytes == 0
    assert [entry.name for entry in packed.entries] == [*(f"{i}.png" for i in range(4)), "deep.png"]
    for place, entry in enumerate(packed.entries):
        whole = packed.window(place, 0, 0, entry.height, entry.width)
        assert torch.equal(whole, folder.window(place, 0, 0, entry.height, entry.width))
        part = packed.window(place, 2, 3, 5, 4)
        assert part.is_contiguous()
        assert torch.equal(part, whole[:, 2:7, 3:7])
    expected = read_image(hr_folder / "1.png").colour.transpose(2, 0, 1)
    assert np.array_equal(packed.window(1, 0, 0, *expected.shape[1:]).numpy(), expected)


def test_threads_read_at_once_through_one_open_file(hr_folder: Path, tmp_path: Path) -> None:
    pack(hr_folder, tmp_path / "pack")
    one, other = PackedImages(tmp_path / "pack"), PackedImages(tmp_path / "pack")
    start = threading.Barrier(4)

    def read(k: int) -> torch.Tensor:
        start.wait(60)
        return (one if k % 2 else other).window(k, k, 2 * k, 50, 40)

    with ThreadPoolExecutor(4) as pool:
        windows = list(pool.map(read, range(4)))
    folder = FolderImages(hr_folder, 2**20, 1)
    assert all(
        torch.equal(window, folder.window(k, k, 2 * k, 50, 40)) for k, window in enumerate(windows)
    )


def test_another_pack_takes_the_place_of_one(hr_folder: Path, tmp_path: Path) -> None:
    pack(hr_folder, tmp_path / "pack")
    before = PackedImages(tmp_path / "pack")
    old = before.window(0, 0, 0, 30, 30)
    write_image(hr_folder / "0.png", Picture(np.zeros((40, 40, 3), np.uint8)))
    pack(hr_folder, tmp_path / "pack")
    assert torch.equal(before.window(0, 0, 0, 30, 30), old)  # a run goes on with what it opened
    assert not PackedImages(tmp_path / "pack").window(0, 0, 0, 40, 40).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "pack"]


def test_what_is_no_pack_is_not_replaced(hr_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / INDEX).write_text("{}")  # others call files so too
    (tmp_path / "results" / "0.png").touch()
    for output in (hr_folder, hr_folder / "0.png", tmp_path / "results"):
        with pytest.raises(InvalidInput, match="something else than a pack"):
            pack(hr_folder, output)
    assert len(list(hr_folder.iterdir())) == 4
    assert len(list((tmp_path / "results").iterdir())) == 2
    (tmp_path / "empty").mkdir()
    pack(hr_folder, tmp_path / "empty")
    assert is_pack(tmp_path / "empty")
    with pytest.raises(InvalidInput, match=r"0\.png"):
        pack(hr_folder, hr_folder / "0.png" / "pack")


def test_what_cannot_be_replaced_is_refused_before_the_work(
    hr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "pack"
    pack(hr_folder, output)
    whole = (output / INDEX).read_bytes()
    done: list[int] = []
    monkeypatch.chdir(output)
    for name in (".", "../pack"):
        with pytest.raises(InvalidInput, match="since this command runs in it: name a folder in"):
            pack(hr_folder, Path(name), progress=lambda n, _: done.append(n))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.ismount", output.__eq__)
    with pytest.raises(InvalidInput, match="since something is mounted there: name a folder in"):
        pack(hr_folder, output, progress=lambda n, _: done.append(n))
    assert not done
    assert (output / INDEX).read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "pack"]


def test_a_link_to_a_pack_stays(hr_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    link = tmp_path / "link"
    link.symlink_to("other")
    for _ in range(2):
        pack(hr_folder, link)
    assert link.is_symlink()
    assert is_pack(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "link", "other"]


def test_other_errors_of_the_system_are_not_told_as_a_full_disk(
    hr_folder: Path, tmp_path: Path
) -> None:
    def nobody_reads(done: int, total: int) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        pack(hr_folder, tmp_path / "pack", progress=nobody_reads)
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


def test_a_pack_is_written_whole_or_not_at_all(hr_folder: Path, tmp_path: Path) -> None:
    pack(hr_folder, tmp_path / "pack")
    damaged = hr_folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:400])
    with pytest.raises(InvalidImage, match=r"2\.png"):
        pack(hr_folder, tmp_path / "pack")
    assert len(PackedImages(tmp_path / "pack").entries) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "pack"]


def test_a_pack_stays_where_the_next_cannot_take_its_place(
    hr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(hr_folder, tmp_path / "pack")
    whole = (tmp_path / "pack" / INDEX).read_bytes()
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.endswith("-unfinished"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="Input/output"):
            pack(hr_folder, tmp_path / "pack")
    assert (tmp_path / "pack" / INDEX).read_bytes() == whole
    (tmp_path / "pack").rename(tmp_path / ".pack-old")  # as a kill between the two leaves it
    (hr_folder / "2.png").write_bytes(b"")
    with pytest.raises(InvalidImage, match=r"2\.png"):
        pack(hr_folder, tmp_path / "pack")
    assert (tmp_path / "pack" / INDEX).read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hr", "pack"]


def test_packing_stops_when_nobody_waits_for_it(hr_folder: Path, tmp_path: Path) -> None:
    done: list[int] = []
    with cancellation.scope(lambda: len(done) < 2), pytest.raises(RequestCancelled):
        pack(hr_folder, tmp_path / "pack", progress=lambda n, _: done.append(n))
    assert done == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


def test_a_full_disk_is_said(
    hr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_images, "_MAP_BYTES", 2**16)  # LMDB's own limit, met the same way
    with pytest.raises(DiskFull, match="is the disk full"):
        pack(hr_folder, tmp_path / "pack")
    assert [path.name for path in tmp_path.iterdir()] == ["hr"]


def test_two_processes_do_not_write_one_pack(hr_folder: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / ".pack-unfinished"
    unfinished.mkdir()
    (unfinished / PIXELS).write_bytes(b"of a process that was killed")
    handle = os.open(unfinished, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(InvalidInput, match="another process"):
        pack(hr_folder, tmp_path / "pack")
    os.close(handle)  # it is dead now
    pack(hr_folder, tmp_path / "pack")
    assert not unfinished.exists()


def test_damaged_packs_are_refused_by_name(hr_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    pack(hr_folder, folder)
    index = json.loads((folder / INDEX).read_text())

    def refused(content: object, said: str) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / INDEX).write_text(text)
        with pytest.raises(InvalidDataset, match=said) as caught:
            PackedImages(folder)
        assert caught.value.field is not None
        assert str(folder) in caught.value.field

    refused("{", "damaged")
    refused(index | {"format": 2}, "format 2; this version reads 1")
    refused(index | {"images": []}, "lists no image")
    refused(index | {"bytes": index["bytes"] + 4096}, "cut short")
    refused(index | {"more": 1}, "damaged")
    shifted = [image | {"height": image["height"] + 1} for image in index["images"]]
    (folder / INDEX).write_text(json.dumps(index | {"images": shifted}))
    with pytest.raises(InvalidDataset, match=r"other pixels for 1\.png"):
        PackedImages(folder).window(1, 0, 0, 4, 4)

    (folder / INDEX).write_text(json.dumps(index))
    (folder / PIXELS).write_bytes(bytes(index["bytes"]))
    with pytest.raises(InvalidDataset, match="cannot be read"):
        PackedImages(folder)
    (folder / PIXELS).unlink()
    assert is_pack(folder)
    with pytest.raises(InvalidDataset, match="missing"):
        PackedImages(folder)


def test_the_file_is_plain_lmdb(hr_folder: Path, tmp_path: Path) -> None:
    pack(hr_folder, tmp_path / "pack")
    with (
        lmdb.open(str(tmp_path / "pack" / PIXELS), subdir=False, readonly=True, lock=False) as file,
        file.begin() as transaction,
    ):
        content = dict(transaction.cursor())
    assert list(content) == [bytes([0, 0, 0, k]) for k in range(4)]
    expected = read_image(hr_folder / "3.png").colour
    assert content[b"\0\0\0\3"] == expected.tobytes()


def test_without_lmdb_the_error_says_what_to_install(
    hr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(NotSupported, match=r"packages/srgan\[lmdb\]"):
        pack(hr_folder, tmp_path / "pack")


def test_the_command_packs(
    hr_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "packs" / "hr"
    assert main(["pack", str(hr_folder), "-o", str(output), "--workers", "1"]) == 0
    assert f"{output}: 4 images, 0.2 MB" in capsys.readouterr().out
    assert len(PackedImages(output).entries) == 4
    assert main(["pack", str(tmp_path / "nowhere"), "-o", str(output)]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
