"""Which LR image belongs to which HR image, where both are given."""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.srgan.data.image_store import ImageEntry, ImageStore


def match_pairs(lr: ImageStore, hr: ImageStore, scale: int) -> list[int]:
    """For each HR image the place of its LR image.

    They have the same name but for the suffix; that of the LR image may end in ``x`` and the scale,
    as DIV2K's do (``0001.png`` and ``0001x4.png``). Each HR image has to have one and each LR image
    to belong to one. Rows and columns of an HR image that fill no LR pixel are not used.

    Raises:
        InvalidDataset: an image without partner, two of one name, or sides that do not fit the
            scale; names the file.
    """
    lr_places = _by_stem(lr)
    matched = []
    for stem, place in _by_stem(hr).items():
        entry = hr.entries[place]
        name = next((name for name in (stem, f"{stem}x{scale}") if name in lr_places), None)
        if name is None:
            raise _error(hr, entry, f"has no LR image {stem} or {stem}x{scale} in {lr.folder}")
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
