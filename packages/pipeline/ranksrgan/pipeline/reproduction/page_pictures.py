"""The pictures of a page: crops of one image beside each other, packed until they have room."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import Picture, encode_image, read_image
from ranksrgan.pipeline.reproduction.charts import DIGITS, minus
from ranksrgan.pipeline.reproduction.findings import Crop, Findings

#: How pictures are encoded: as exactly as there is room for.
PACKINGS = ((".png", 100), (".webp", 95), (".webp", 90), (".webp", 80), (".webp", 65))

#: Bytes around pictures: of one, its elements and captions; of all, what they are compared with.
_AROUND, _SECTION = 700, 4000


@dataclass(frozen=True)
class Tile:
    """A crop as it stands on the page."""

    title: str
    caption: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Gallery:
    """Rows of crops by the name of their image.

    Attributes:
        rows: all crops of a row have one size.
        packing: how they are encoded, in words.
        left_out: images for which there was no room.
    """

    rows: tuple[tuple[str, tuple[Tile, ...]], ...] = ()
    packing: str = ""
    left_out: int = 0


def make_gallery(findings: Findings, folder: Path, room: int) -> Gallery:
    """Read the crops and put as many images as possible, as exactly as possible, into ``room``.

    Args:
        findings: crops of one image are consecutive.
        folder: which their paths start from.
        room: in bytes.

    Raises:
        InvalidInput: a crop lies outside the folder, or crops of one image differ in size.
        InvalidImage: a crop is missing or damaged.
    """
    rows = [
        [(crop, _read(crop, folder)) for crop in row]
        for _, row in groupby(findings.crops, lambda crop: (crop.test_set, crop.image))
    ]
    for row in rows:
        _check_sizes(row)
    digits = {column.name: column.digits for column in findings.table.columns}
    for suffix, quality in PACKINGS:
        tiles = [_pack_row(row, digits, suffix, quality) for row in rows]
        sizes = [sum(len(tile.source) + _AROUND for tile in row) for _, row in tiles]
        if _SECTION + sum(sizes) <= room:
            break
    kept = sum(_SECTION + sum(sizes[: i + 1]) <= room for i in range(len(sizes)))
    exact = suffix == ".png"
    packing = "without loss" if exact else f"as WebP of quality {quality}, which is not exact"
    return Gallery(tuple(tiles[:kept]), packing, len(rows) - kept)


def _read(crop: Crop, folder: Path) -> Picture:
    path = folder / crop.path
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidInput(
            f"crop {crop.path!r} of {crop.image} is outside {folder}; it must lie within",
            field="crops",
        )
    return read_image(path)


def _check_sizes(row: Sequence[tuple[Crop, Picture]]) -> None:
    first, wanted = row[0]
    for crop, picture in row:
        if (picture.height, picture.width) != (wanted.height, wanted.width):
            raise InvalidInput(
                f"crop {crop.path!r} has {picture.width} x {picture.height} pixels and "
                f"{first.path!r} of the same image {wanted.width} x {wanted.height}; they must "
                "show the same place",
                field="crops",
            )


def _pack_row(
    row: Sequence[tuple[Crop, Picture]], digits: Mapping[str, int], suffix: str, quality: int
) -> tuple[str, tuple[Tile, ...]]:
    first = row[0][0]
    name = f"{first.test_set}: {first.image}" if first.test_set else first.image
    tiles = []
    for crop, picture in row:
        data = encode_image(Picture(picture.colour), suffix=suffix, quality=quality)
        source = f"data:image/{suffix[1:]};base64," + base64.b64encode(data).decode("ascii")
        title = crop.method if crop.seed is None else f"{crop.method}, seed {crop.seed}"
        scores = (
            f"{metric}\N{NO-BREAK SPACE}{minus(f'{value:.{digits.get(metric, DIGITS)}f}')}"
            for metric, value in crop.scores.items()
            if value is not None
        )
        tiles.append(Tile(title, ", ".join(scores), source, picture.width, picture.height))
    return name, tuple(tiles)
