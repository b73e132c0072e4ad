"""The photographs that scikit-image ships inside its package: no download, free to use."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np

from ranksrgan.contracts.errors import InvalidImage, InvalidInput, MissingAsset
from ranksrgan.contracts.images import SUFFIXES, Picture, read_image, write_image

#: What the demo learns from. Photographs in the wide sense: the eye's retina and a stained tissue
#: have colours and fine structure that the handful of everyday pictures lacks.
TRAINING = (
    "brick.png",
    "camera.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
)

#: What the demo is judged on and never learns from: natural scenes of everyday objects, which is
#: what NIQE knows about, with faces, fur, wood and chrome to look at.
HELD_OUT = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")


def export_photographs(folder: Path) -> tuple[Path, Path]:
    """Write the photographs as PNG into ``folder/training`` and ``folder/held-out``.

    Those that are there stay; nothing is replaced or removed.

    Returns:
        The two folders.

    Raises:
        InvalidInput: one of them holds an image that is none of the photographs.
        MissingAsset: the installed scikit-image lacks one of them.
    """
    places = folder / "training", folder / "held-out"
    for place, names in zip(places, (TRAINING, HELD_OUT), strict=True):
        photographs = {place / f"{Path(name).stem}.png": _photograph(name) for name in names}
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            image = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
            if image and (path not in photographs or not _shows(path, photographs[path])):
                raise InvalidInput(
                    f"{path} is none of the demo's photographs, and would be taken for one: move "
                    "it away, or choose another output folder (-o)",
                    field=str(path),
                )
        for path, photograph in photographs.items():
            if not path.exists():
                write_image(path, photograph)
    return places


def _shows(path: Path, photograph: Picture) -> bool:
    try:
        return np.array_equal(read_image(path).colour, photograph.colour)
    except InvalidImage:
        return False


def _photograph(name: str) -> Picture:
    source = files("skimage") / "data" / name
    if not source.is_file():
        raise MissingAsset(
            f"scikit-image does not ship {name} any more; the demo needs scikit-image 0.24 to 0.26",
            field=name,
        )
    with as_file(source) as path:
        return Picture(read_image(path).colour)
