"""Which LR image belongs to which HR image, where both are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.srgan.data.image_store import ImageEntry, ImageStore

# How RealSR's names end; the scale follows the latter.
_HR, _LR = "_HR", "_LR"


class Chosen:
    """Some of the images of a store, as an `ImageStore`."""

    def __init__(self, images: ImageStore, places: Sequence[int]) -> None:
        self._images, self._places = images, places
        self.folder, self.kept_bytes = images.folder, images.kept_bytes
        self.entries = [images.entries[place] for place in places]

    def window(self, index: int, top: int, left: int, height: int, width: int) -> Tensor:
        """See `ImageStore.window`."""
        return self._images.window(self._places[index], top, left, height, width)


def divided(images: ImageStore, scale: int) -> tuple[Chosen, Chosen]:
    """The HR and the LR images of one folder, by RealSR's names; other scales' are left out.

    Raises:
        InvalidDataset: there are none of one of the two.
    """
    stems = [Path(entry.name).stem for entry in images.entries]
    found = []
    for ending in (_HR, f"{_LR}{scale}"):
        places = [place for place, stem in enumerate(stems) if stem.endswith(ending)]
        if not places:
            raise InvalidDataset(
                f"{images.folder} is to hold HR and LR images, and none has a name that ends in "
                f"{ending}, as Canon001{ending}.png has",
                field=str(images.folder),
            )
        found.append(Chosen(images, places))
    return found[0], found[1]


def match_pairs(lr: ImageStore, hr: ImageStore, scale: int) -> list[int]:
    """For each HR image the place of its LR image.

    They have the same name but for the suffix; that of the LR image may end in ``x`` and the scale,
    as DIV2K's do (``0001.png`` and ``0001x4.png``); or the two end in ``_HR`` and ``_LR`` with the
    scale, as RealSR's do (``Canon001_HR.png`` and ``Canon001_LR4.png``). Each HR image has to have
    one and each LR image to belong to one. Rows and columns of an HR image that fill no LR pixel
    are not used.

    Raises:
        InvalidDataset: an image without partner, two of one name, or sides that do not fit the
            scale; names the file.
    """
    lr_places = _by_stem(lr)
    matched = []
    for stem, place in _by_stem(hr).items():
        entry = hr.entries[place]
        names = [stem, f"{stem}x{scale}"]
        if stem.endswith(_HR):
            names = [f"{stem.removesuffix(_HR)}{_LR}{scale}", *names]
        name = next((name for name in names if name in lr_places), None)
        if name is None:
            wanted_names = " or ".join(names)
            raise _error(hr, entry, f"has no LR image {wanted_names} in {lr.folder}")
        partner = lr_places.pop(name)
        found, wanted = lr.entries[partner], (entry.width // scale, entry.height // scale)
        if (found.width, found.height) != wanted:
            raise _error(
                lr,
                found,
                f"is {found.width} x {found.height}; {entry.name} of {entry.width} x "
                f"{entry.height} wants {wanted[0]} x {wanted[1]} at scale {scale}",
            )
        matched.append((place, partner))
    for place in lr_places.values():
        raise _error(lr, lr.entries[place], f"belongs to no HR image in {hr.folder}")
    return [partner for _, partner in sorted(matched)]


def _by_stem(images: ImageStore) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, entry in enumerate(images.entries):
        stem = Path(entry.name).stem
        if stem in places:
            other = images.entries[places[stem]].name
            raise _error(images, entry, f"and {other} have the same name: rename one of them")
        places[stem] = place
    return places


def _error(images: ImageStore, entry: ImageEntry, problem: str) -> InvalidDataset:
    path = images.folder / entry.name
    return InvalidDataset(f"{path} {problem}", field=str(path))
