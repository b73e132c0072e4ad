"""The images that people judge: references, and versions of them named ``REFERENCE_LEVEL``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import SUFFIXES
from ranksrgan.rankdata.degradation import read_rgb

#: The level of the reference itself, where people judged it too.
ORIGINAL = "hr"


class Version(NamedTuple):
    """What people may judge: an image and the reference that it is of."""

    reference: str
    level: str
    path: Path


def find_versions(folder: Path, references: Mapping[str, Path]) -> dict[str, Version]:
    """The versions by their names without suffix.

    Args:
        folder: that they lie in, or one folder deeper.
        references: by their names.

    Raises:
        InvalidInput: no such folder, or no image in it.
        InvalidDataset: a version without a reference, of the level ``hr``, or of a name twice.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", field="distorted")
    versions: dict[str, Version] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path.is_dir():
            continue
        parts = path.stem.split("_")
        # The longest reference goes first: the name of another one may be its beginning.
        cuts = range(len(parts) - 1, 0, -1)
        cut = next((cut for cut in cuts if "_".join(parts[:cut]) in references), None)
        if cut is None or not parts[-1]:
            raise InvalidDataset(
                f"{path}: no reference of this version; the name should begin with that of an "
                "image among the references, and go on with _ and a level",
                field=str(path),
            )
        if parts[cut:] == [ORIGINAL]:
            raise InvalidDataset(
                f"{path}: the level {ORIGINAL} is the reference itself; {path.stem} has taken that "
                "name, so give it another",
                field=str(path),
            )
        if path.stem in versions:
            raise InvalidDataset(
                f"{path}: this version is there already ({versions[path.stem].path})",
                field=str(path),
            )
        versions[path.stem] = Version("_".join(parts[:cut]), "_".join(parts[cut:]), path)
    if not versions:
        raise InvalidInput(f"{folder} and its folders hold no image", field="distorted")
    return versions


def with_originals(
    versions: Mapping[str, Version], references: Mapping[str, Path]
) -> dict[str, Version]:
    """Versions and, by their bare names, the references: all that people may judge.

    A version that has the name of a reference goes before it.
    """
    originals = {name: Version(name, ORIGINAL, path) for name, path in references.items()}
    return {**originals, **versions}


def read_version(path: Path, original: Tensor) -> Tensor:
    """A version's image, (1, 3, height, width) uint8 as the original (`read_rgb`).

    Raises:
        InvalidDataset: its size is not that of the original.
        InvalidImage, ImageTooLarge: see `read_rgb`.
    """
    image = read_rgb(path)
    if image.shape != original.shape:
        raise InvalidDataset(
            f"{path} is {image.shape[-1]} x {image.shape[-2]} pixels, its reference "
            f"{original.shape[-1]} x {original.shape[-2]}",
            field=str(path),
        )
    return image
