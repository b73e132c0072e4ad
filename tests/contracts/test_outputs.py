from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.outputs import DATASET_SUFFIXES, check_output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``photos/a.PNG`` and a link to it, ``photos/old.json``, ``r.safetensors``; it is entered."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in ("photos/a.PNG", "photos/deep/b.jpg", "photos/old.json", "r.safetensors"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.png").symlink_to("photos/a.PNG")
    (tmp_path / "again").symlink_to("photos")
    os.link(tmp_path / "r.safetensors", tmp_path / "hard")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("output", "needed"),
    [
        ("photos/a.PNG", "photos/a.PNG"),
        ("photos/a.PNG", "photos/../again/a.PNG"),
        ("link.png", "photos/a.PNG"),
        ("photos/a.PNG", "link.png"),
        ("photos/a.PNG", "photos"),
        ("again/deep/b.jpg", "photos"),
        ("photos/deep/b.jpg", "again"),
        ("r.safetensors", "r.safetensors?device=cpu"),
        ("hard", "r.safetensors"),
        ("yet/to/come.png", "yet/to/../to/come.png"),
    ],
)
def test_what_is_needed_is_not_replaced(here: Path, output: str, needed: str) -> None:
    said = f"{output} is an input and would be replaced: name another file with --report"
    with pytest.raises(InvalidInput, match=re.escape(said)) as refused:
        check_output("--report", Path(output), ["niqe", Path(needed)])
    assert refused.value.field == "--report"
    with pytest.raises(InvalidInput, match="is a result and would"):
        check_output("--report", Path(output), [here / needed], what="a result")


@pytest.mark.parametrize(
    ("output", "needed"),
    [
        ("photos/old.json", "photos"),  # as an earlier run left it
        ("photos/new.png", "photos"),
        ("photos/a.PNG", "phot"),
        ("r.safetensors", "grpc://host:1/r.safetensors"),
        ("r.safetensors", "?device=cpu"),
        ("/dev/null", "/dev/null"),
    ],
)
def test_everything_else_may_be(here: Path, output: str, needed: str) -> None:
    check_output("-o", Path(output), [needed])
    check_output("-o", None, [needed])


def test_a_folder_is_no_file(here: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^again is a folder: name a file with -o$"):
        check_output("-o", Path("again"), [])


def test_a_place_that_takes_no_files_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "file").touch()
    with pytest.raises(InvalidInput, match=r"^file/a\.csv cannot be written: .*file is no folder"):
        check_output("--report", Path("file/a.csv"), [])
    check_output("--report", Path("not/yet/there/a.csv"), [])
    monkeypatch.setattr("os.access", lambda folder, mode: Path(folder) != here)
    with pytest.raises(InvalidInput, match=r"no file can be made in .*; name another --report"):
        check_output("--report", Path("not/yet/there/a.csv"), [])


def test_a_folder_is_read_for_some_of_its_files(here: Path) -> None:
    check_output("-o", here / "photos" / "a.PNG", ["photos"], read=DATASET_SUFFIXES)
    with pytest.raises(InvalidInput, match=r"old\.json is an input"):
        check_output("-o", here / "photos" / "old.json", ["photos"], read=DATASET_SUFFIXES)
