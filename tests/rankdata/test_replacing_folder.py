"""`replacing_folder` and the builds that may be under way at the same place."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded
from ranksrgan.rankdata.folder import BuildingFolder, locked_building_folder, replacing_folder


def _replace(target: Path, *, overwrite: bool = False, failure: Exception | None = None) -> None:
    with replacing_folder(target, overwrite=overwrite) as folder:
        assert list(folder.iterdir()) == []
        (folder / "new").write_text("new")
        assert not (target / "new").exists()
        if failure is not None:
            raise failure


def test_appears_at_once(tmp_path: Path) -> None:
    _replace(tmp_path / "deep" / "target")
    assert (tmp_path / "deep" / "target" / "new").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["target"]


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (ValueError("broken"), ValueError),
        (OSError(errno.EACCES, "Permission denied"), PermissionError),
        (OSError(errno.ENOSPC, "No space left on device"), LimitExceeded),
    ],
)
def test_a_failure_leaves_nothing(
    tmp_path: Path, failure: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        _replace(tmp_path / "target", failure=failure)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_build_is_not_discarded_unasked(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with locked_building_folder(target) as building:
        building.claim({"config": 1}, discard=False)
        building.result("one").parent.mkdir(parents=True)
        building.result("one").write_text("{}")
    with pytest.raises(InvalidInput, match="unfinished build"):
        _replace(target)
    assert BuildingFolder(target).result("one").exists()
    _replace(target, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_running_build_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with locked_building_folder(target), pytest.raises(InvalidInput, match="is running"):
        _replace(target)
    _replace(target)


def test_what_a_kill_left_is_not_taken_over(tmp_path: Path) -> None:
    target = tmp_path / "target"
    left = BuildingFolder(target).dataset / "levels"
    left.mkdir(parents=True)
    (BuildingFolder(target).path / "settings.json").write_text('{"once": "0"}')
    (left / "old.png").write_bytes(b"half")
    _replace(target)
    assert [path.name for path in target.iterdir()] == ["new"]
