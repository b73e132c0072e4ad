from __future__ import annotations

import os
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.training_folder import alone_in, check_folder

STATE = "last.state.pt"


def test_a_second_training_in_a_folder_is_refused(tmp_path: Path) -> None:
    with alone_in(tmp_path, [STATE]):
        with (
            pytest.raises(InvalidInput, match=r"another training is at work in .*: wait") as caught,
            alone_in(tmp_path, [STATE]),
        ):
            pass
        assert caught.value.field == str(tmp_path)
        with alone_in(tmp_path / "other", [STATE]):
            pass
    with alone_in(tmp_path, [STATE]):
        pass


def test_halves_of_its_own_files_are_swept_up(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with atomic.replacing(tmp_path / STATE) as half:
        os.link(half, kept)
    kept.rename(half)  # as a kill would leave it, without the end of `replacing`
    others = [".last.state-0123abcd.txt", ".mine-0123abcd.pt", "last.state-0123abcd.pt", STATE]
    for other in (".curves-0123abcd.csv", *others):
        (tmp_path / other).touch()
    with alone_in(tmp_path, [STATE]):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("written", [False, True])
def test_a_folder_that_nothing_came_into_is_not_left(tmp_path: Path, written: bool) -> None:
    with alone_in(tmp_path / "new", [STATE]):
        if written:
            (tmp_path / "new" / STATE).touch()
    assert (tmp_path / "new").exists() == written


def _lay(folder: Path, names: str, config: str | None = None) -> dict[str, str]:
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if config is not None:
        (folder / "config.yaml").write_text(config)
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("names", "config", "named"),
    [
        (
            "manifest.parquet dataset.json levels/hr/a.png",
            "hr: images\n",
            "dataset.json, levels, m",
        ),
        ("a.png b.png c.png d.png e.png", None, "a.png, b.png, c.png and 2 more"),
        (
            "ranker.safetensors curves.csv last.state.pt run.json",
            "width: 8\n",
            "ranker.safetensors, config.yaml, curves.csv and 1 more",
        ),
        ("run.json 1-srresnet/config.yaml", "srresnet: {}\n", "1-srresnet, config.yaml, run.json"),
        ("run.json", "width: 8\n", "config.yaml, run.json"),
        ("generator.safetensors", None, "generator.safetensors"),
        ("notes.txt", "- no keys\n", "config.yaml"),
        ("notes.txt", "generator: [", "config.yaml"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, names: str, config: str | None, named: str
) -> None:
    before = _lay(tmp_path, names, config)
    with pytest.raises(
        InvalidInput, match=f"than the training of a generator: {named}.*; train into a new folder"
    ) as caught:
        check_folder(tmp_path, "a generator", "generator")
    assert caught.value.field == str(tmp_path)
    assert {str(path): path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("names", "config"),
    [
        ("", None),
        ("tensorboard/events lost+found/x .git/HEAD .DS_Store", None),
        ("unit.json log.txt", None),  # of `ranksrgan reproduce`
        ("slurm-17.out train.log notes.txt recipe.yaml", None),
        ("last.state.pt", None),
        ("run.json", "generator: {scale: 4}\n"),  # killed before its first save
        ("run.json best.safetensors pictures/a.png scores.csv", "generator: {scale: 4}\n"),
    ],
)
def test_a_folder_to_train_in(tmp_path: Path, names: str, config: str | None) -> None:
    _lay(tmp_path, names, config)
    check_folder(tmp_path, "a generator", "generator")


def test_a_folder_that_is_not_there_and_one_that_is_a_file(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", "a generator", "generator")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="is a file; a folder is wanted"):
        check_folder(tmp_path / "file", "a generator", "generator")
