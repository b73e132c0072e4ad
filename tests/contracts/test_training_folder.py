from __future__ import annotations

import os
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.training_folder import alone_in

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
