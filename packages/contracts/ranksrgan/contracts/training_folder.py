"""The folder of a training: of one kind, and one training at a time in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.folder_lock import locked
from ranksrgan.contracts.some_names import some_names
from ranksrgan.contracts.yaml_text import read_yaml

#: What every training of the project writes, see `curves` and `provenance`.
_CURVES = ("curves.csv", "validation.csv")
_CONFIG = "config.yaml"
_RECORDS = (*_CURVES, _CONFIG, "run.json")

#: What may lie in a folder before a training begins there: TensorBoard's, a volume's, a unit's of
#: `ranksrgan reproduce`, what a shell writes a command's output to, notes and recipes. A state
#: says itself, when it is read, of which training it is.
_BEFOREHAND = (
    *("tensorboard", "lost+found", "unit.json", "last.state.pt"),
    *("*.log", "*.out", "*.txt", "*.yaml"),
)


def check_folder(folder: Path, kind: str, key: str) -> None:
    """Refuse to train where something else lies, a dataset, images or a training of another kind.

    A folder with a run in it is known by ``config.yaml``, which a training writes before all else.
    Whatever lies beside that is let be.

    Args:
        folder: of the run, there or not.
        kind: what is trained, as in "a generator".
        key: of ``config.yaml`` in runs of this kind, and in no other file of that name.

    Raises:
        InvalidInput: it is a file, or there is something else in it; names some of that.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; a folder is wanted", field=str(folder))
    if not folder.is_dir() or configured_by(folder, key):
        return
    others = [path.name for path in folder.iterdir() if not _may_be_there(path.name)]
    if others:
        # First what tells one kind of folder from another.
        others.sort(key=lambda name: (name in _RECORDS, name))
        raise InvalidInput(
            f"{folder} holds something else than the training of {kind}: {some_names(others)}; "
            "train into a new folder",
            field=str(folder),
        )


def configured_by(folder: Path, key: str) -> bool:
    """Whether a folder has a ``config.yaml`` with that key, which tells whose it is."""
    try:
        return key in read_yaml(folder / _CONFIG)
    except InvalidConfig:  # also where there is none
        return False


def _may_be_there(name: str) -> bool:
    if name == _CONFIG:
        return False
    return name.startswith(".") or any(fnmatchcase(name, form) for form in _BEFOREHAND)


def clear(folder: Path, files: Iterable[str]) -> None:
    """Remove what an earlier training has left, so that nothing of it stands beside a new one.

    Args:
        folder: of the run.
        files: as in `alone_in`.
    """
    for name in (*files, *_CURVES):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


@contextmanager
def alone_in(folder: Path, files: Iterable[str]) -> Iterator[None]:
    """Within the block no other process trains in ``folder``.

    What a kill during a save has left of ``files`` and of the records beside them is removed: a
    state may be large, and nobody else would find half of one.

    Args:
        folder: of the run; made if need be, and removed again if nothing has been put into it.
        files: names of the states and weights that the training writes there.

    Raises:
        InvalidInput: another process trains there.
    """
    folder = Path(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    refusal = (
        f"another training is at work in {folder}: wait for it, stop it, or train into another "
        "folder"
    )
    with locked(folder, refusal):
        atomic.remove_leftovers(folder / name for name in (*files, *_RECORDS))
        try:
            yield
        finally:
            if made:
                with contextlib.suppress(OSError):  # there is something in it
                    folder.rmdir()
