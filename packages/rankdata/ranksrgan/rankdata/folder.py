"""The folder of a dataset, and the one beside it in which the dataset grows.

NAME                          the dataset; it appears whole or not at all
.NAME.building/               while it is being made, and after a kill until it is continued
    lock                      held by the process that builds
    settings.json             what is being built; another build does not go on from here
    sources/<source>.json     what is known of each finished source image
    dataset/                  becomes NAME
    replaced/                 what was NAME, for the moment between two renames
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import DiskFull, InvalidInput
from ranksrgan.contracts.some_names import some_names
from ranksrgan.rankdata.manifest import RECORD, foreign_entries
from ranksrgan.rankdata.places import respelled

_LOCK = "lock"
_SETTINGS = "settings.json"


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse to write where something would be lost.

    Raises:
        InvalidInput: ``target`` is a file, a folder with anything but a dataset in it, holds a
            dataset and ``overwrite`` is not set, holds something else beside the dataset, or is
            where a disk is mounted.
    """
    if not target.exists():
        return
    if not target.is_dir():
        raise InvalidInput(f"{target} is a file; a folder is wanted", field=str(target))
    if os.path.ismount(target):
        raise InvalidInput(
            f"{target} is where a disk is mounted, and a dataset takes the place of the whole "
            "folder; choose a folder in it",
            field=str(target),
        )
    if holds_dataset(target):
        if not overwrite:
            raise InvalidInput(
                f"{target} already holds a dataset; replacing it has to be asked for (--force)",
                field=str(target),
            )
        if others := list(foreign_entries(target)):
            raise InvalidInput(
                f"{target} holds more than a dataset, and replacing it would delete the rest: "
                f"{some_names(others)}; move that elsewhere, or choose another folder",
                field=str(target),
            )
    elif any(target.iterdir()):
        raise InvalidInput(
            f"{target} holds files that are no rank dataset; choose another folder",
            field=str(target),
        )


def holds_dataset(target: Path) -> bool:
    """Whether a complete dataset is there."""
    return (target / RECORD).is_file()


class BuildingFolder:
    """The folder in which a dataset grows; see `locked_building_folder`.

    Attributes:
        path: of the folder.
        target: of the dataset: what a symbolic link leads to, which may be on another disk.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.resolve()
        self.path = self.target.parent / f".{self.target.name}.building"

    @property
    def dataset(self) -> Path:
        """What becomes the dataset's folder."""
        return self.path / "dataset"

    def result(self, source: str) -> Path:
        """The file of a finished source image."""
        return self.path / "sources" / f"{source}.json"

    def claim(self, settings: dict[str, Any], *, discard: bool) -> None:
        """Make sure that everything in the folder was made with these settings.

        Args:
            settings: what decides the dataset, as JSON values; the order of keys counts, and where
                images and weights lie does not.
            discard: empty the folder instead of refusing.

        Raises:
            InvalidInput: an unfinished build with other settings lies here; names one that differs.
        """
        file = self.path / _SETTINGS
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = None  # empty, or on its way to be removed
        wanted = respelled(json.loads(json.dumps(settings)), found)
        if json.dumps(found) != json.dumps(wanted):
            if found is not None and self._has_results() and not discard:
                raise InvalidInput(
                    f"{self.path} holds an unfinished build with other settings "
                    f"({first_difference(found, wanted)}); --force discards it, and so does "
                    "removing that folder",
                    field=str(self.path),
                )
            self.empty()
            atomic.write_text(file, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
        self.dataset.mkdir(exist_ok=True)

    def publish(self, *, overwrite: bool) -> None:
        """Let the finished dataset take its place; remove what was there before.

        Raises:
            InvalidInput: see `check_target`.
        """
        check_target(self.target, overwrite=overwrite)
        replaced = self.path / "replaced"
        if self.target.exists():
            self.target.rename(replaced)
        try:
            self.dataset.rename(self.target)
        except OSError:
            if replaced.exists():
                replaced.rename(self.target)
            raise
        self.empty()

    def recover(self) -> None:
        """Do the rest of what a kill in `publish` left undone."""
        if (self.path / "replaced").exists() and not self.target.exists():
            self.dataset.rename(self.target)
        if holds_dataset(self.target) and not self.dataset.exists():
            self.empty()

    def remove_if_empty(self) -> None:
        """Remove the folder unless it has results to go on from."""
        if not self._has_results():
            # Whoever waits for the lock may put a new one there, and then the folder is theirs.
            shutil.rmtree(self.path, ignore_errors=True)

    def empty(self) -> None:
        """Discard what was made so far."""
        # First what makes the rest worth something, so that a kill leaves nothing to go on from.
        (self.path / _SETTINGS).unlink(missing_ok=True)
        for path in self.path.iterdir():
            if path.is_symlink():
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)

    def _has_results(self) -> bool:
        return any(self.result("").parent.glob("[!.]*.json"))


@contextmanager
def locked_building_folder(target: Path) -> Iterator[BuildingFolder]:
    """Hold the building folder of ``target``; it stays if there is something to go on from.

    Raises:
        InvalidInput: another process holds it.
    """
    folder = BuildingFolder(target)
    lock = _lock(folder)
    try:
        folder.recover()
        yield folder
    finally:
        folder.remove_if_empty()
        os.close(lock)


@contextmanager
def replacing_folder(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder, which takes the place of ``target`` when the block succeeds.

    For what is made in one go: a failure leaves nothing of it, and ``target`` as it was.

    Raises:
        InvalidInput: see `check_target`; or ``target`` is being built, or its build is unfinished.
        DiskFull: no room for it.
    """
    check_target(target, overwrite=overwrite)
    with locked_building_folder(target) as building:
        # Like no other, so that nothing is taken over from a process that was killed.
        building.claim({"once": secrets.token_hex(8)}, discard=overwrite)
        with telling_of_a_full_disk(target, "nothing was kept"):
            yield building.dataset
        building.publish(overwrite=overwrite)


@contextmanager
def telling_of_a_full_disk(folder: Path, what_now: str) -> Iterator[None]:
    """Make a full disk, or a full quota, an error of ours within the block.

    Raises:
        DiskFull: names the folder and says what now.
    """
    try:
        with atomic.room_for(folder):
            yield
    except DiskFull as error:
        raise DiskFull(f"the disk of {folder} is full; {what_now}", field=str(folder)) from error


def _lock(folder: BuildingFolder) -> int:
    file = folder.path / _LOCK
    while True:
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o666)
        except FileNotFoundError:
            continue  # whoever held it has just removed the folder
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file.stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise InvalidInput(
                f"another build of {folder.target} is running", field=str(folder.target)
            ) from error
        except FileNotFoundError:
            pass
        os.close(handle)  # of a folder that was removed in between


def first_difference(found: Any, wanted: Any, key: str = "") -> str:
    """The first place in which two JSON values differ, as ``key: A there, B now``."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in [*found, *wanted]:
            before, now = found.get(name), wanted.get(name)
            if json.dumps(before) != json.dumps(now):
                return first_difference(before, now, f"{key}.{name}" if key else name)
        return f"{key}: in another order"
    return f"{key}: {json.dumps(found)} there, {json.dumps(wanted)} now"
