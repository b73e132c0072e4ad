"""What of a folder is read as models, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidInput,
    LimitExceeded,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.serving import model_repository
from ranksrgan.contracts.serving.model_repository import ModelRepository, ModelSettings, parse_ref
from ranksrgan.contracts.serving.settings import RepositorySettings
from tests.contracts.repositories import put_generator


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    put_generator(folder, "x4", 1, seed=1)
    put_generator(folder, "x4", 10, seed=2)
    return folder


def test_names_versions_and_weights(root: Path) -> None:
    repository = ModelRepository(root)
    assert repository.scan() == (["x4"], {})
    assert repository.versions("x4") == [1, 10]
    assert repository.settings("x4") == ModelSettings()
    path = root / "x4/10/model.safetensors"
    with repository.read("x4", 10) as (weights, mark, sha256):
        on_disk = load_weights(path)
        assert weights.sha256 == on_disk.sha256
        assert weights.options == on_disk.options
        assert weights.kind == "generator"
        assert str(weights.path) == "x4/10/model.safetensors"
        assert mark.size == path.stat().st_size
        assert len(sha256) == 64


def test_settings_are_read(root: Path) -> None:
    (root / "x4/model.yaml").write_text(
        "options: {head: ma, tile: 64, fast: true}\nversions: [1]\nwarm_up: [32, 48]\n"
    )
    settings = ModelRepository(root).settings("x4")
    assert settings.option_texts() == {"head": "ma", "tile": "64", "fast": "true"}
    assert settings.versions == (1,)
    assert settings.warm_up == (32, 48)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: [1]", "did you mean versions"),
        ("versions: [0]", "versions"),
        ("options: {device: [cpu]}", "options"),
        ("- 1", "keys and values"),
        ("a: [", "not YAML"),
        ("versions: [1]\nversions: [2]", "versions is given twice, in lines 1 and 2"),
        ("a" * 70_000, "longer than"),
    ],
)
def test_wrong_settings_are_refused(root: Path, text: str, said: str) -> None:
    (root / "x4/model.yaml").write_text(text)
    with pytest.raises(InvalidConfig, match=said) as caught:
        ModelRepository(root).settings("x4")
    assert "x4/model.yaml" in str(caught.value)
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "a/b",
        "../x4",
        "/etc",
        "a\0b",
        "x" * 101,
        "x4\n",
        "ä",
        "x4:0",
        "x4:-1",
        "x4:1:1",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"name|NAME") as caught:
        parse_ref(name)
    assert caught.value.field == "model"
    assert len(str(caught.value)) < 400


def test_names_are_taken_apart() -> None:
    assert parse_ref("x4") == ("x4", None)
    assert parse_ref("x4.best-1:12") == ("x4.best-1", 12)


def read(root: Path, name: str = "x4", version: int = 1) -> None:
    with ModelRepository(root).read(name, version):
        pass


def test_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    outside = put_generator(tmp_path / "outside", "secret", 1, seed=3)
    (root / "linked").symlink_to(outside.parents[1])
    (root / "x4/2").symlink_to(outside.parent)
    (root / "x4/3").mkdir()
    (root / "x4/3/model.safetensors").symlink_to(outside)
    (root / "x4/4").mkdir()
    (root / "x4/4/model.safetensors").symlink_to("../1/model.safetensors")
    repository = ModelRepository(root)
    names, refused = repository.scan()
    assert names == ["x4"]
    assert "follows no links" in refused["linked"]
    for version in (2, 3, 4):
        with pytest.raises(InvalidInput, match="follows no links"):
            read(root, version=version)
    with pytest.raises(InvalidInput, match="follows no links"):
        repository.settings("linked")
    (root / "x4/model.yaml").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="follows no links"):
        repository.settings("x4")


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert ModelRepository(tmp_path / "link").versions("x4") == [1, 10]


def test_what_does_not_belong_there_is_told(root: Path) -> None:
    (root / "notes.txt").write_text("hello")
    (root / ("n" * 150)).mkdir()
    (root / os.fsdecode(b"bad\xff")).mkdir()
    (root / ".git").mkdir()
    (root / "lost+found").mkdir(0o700)
    names, refused = ModelRepository(root).scan()
    assert names == ["x4"]
    assert sorted(refused) == ["bad\\udcff", "n" * 120, "notes.txt"]
    for shown, reason in refused.items():
        assert f"{shown}{reason}".isascii()  # it can be sent
    (root / "x4/latest").mkdir()
    with pytest.raises(InvalidInput, match="x4 holds 'latest'"):
        ModelRepository(root).versions("x4")


@pytest.mark.parametrize("other", ["model.pth", "model.pt", "run.sh", "weights.safetensors"])
def test_only_safetensors_lie_in_a_version(root: Path, other: str) -> None:
    (root / "x4/1" / other).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InvalidInput, match=other):
        read(root)


def test_a_file_on_its_way_is_passed_over(root: Path) -> None:
    (root / "x4/1/.model-1234.safetensors").write_bytes(b"half")
    read(root)


def test_a_pickle_under_that_name_is_refused(root: Path) -> None:
    path = root / "x4/1/model.safetensors"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InvalidCheckpoint, match=r"x4/1/model\.safetensors is damaged"):
        read(root)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(root: Path, keep: int) -> None:
    path = root / "x4/1/model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidCheckpoint, match="damaged"):
        read(root)


def test_a_pipe_is_refused_and_not_waited_for(root: Path) -> None:
    path = root / "x4/1/model.safetensors"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidInput, match="no file"):
        read(root)


def test_a_file_that_is_too_large_is_refused_unread(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_repository, "MAX_WEIGHTS", 1000)
    with pytest.raises(LimitExceeded, match="at most 1000"):
        read(root)


def swap(path: Path) -> None:
    new = put_generator(path.parents[2].with_name("new"), "x4", 1, seed=9)
    new.replace(path)


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def overwrite_secretly(path: Path) -> None:
    """Other bytes under the old times, as far as a program can set them."""
    before = path.stat()
    overwrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "change", [swap, overwrite, overwrite_secretly, lambda path: os.truncate(path, 500)]
)
def test_a_file_that_changes_while_it_is_loaded_is_told(root: Path, change: object) -> None:
    assert callable(change)
    with (
        pytest.raises(InvalidCheckpoint, match="replaced or written while it was loaded"),
        ModelRepository(root).read("x4", 1),
    ):
        change(root / "x4/1/model.safetensors")


def test_a_version_that_goes_while_it_is_loaded_is_told(root: Path) -> None:
    path = root / "x4/1/model.safetensors"
    with pytest.raises(UnknownName, match="x4/1"), ModelRepository(root).read("x4", 1):
        path.unlink()


def test_what_is_not_there_is_unknown(root: Path) -> None:
    for missing in (lambda: read(root, "none"), lambda: read(root, version=7)):
        with pytest.raises(UnknownName):
            missing()


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path / "none", Path("/")):
        with pytest.raises(InvalidInput):
            ModelRepository(root)


def test_repository_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        RepositorySettings(poll=0)


def test_no_handle_is_left_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    repository = ModelRepository(root)
    (root / "x4/2").symlink_to("/tmp")
    for _ in range(3):
        repository.scan()
        repository.versions("x4")
        for version in (1, 2, 3):
            try:
                read(root, version=version)
            except RankSRGANError:
                assert version > 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
