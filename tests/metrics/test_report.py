from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import from_tensor, write_image
from ranksrgan.metrics.report import References


def originals(folder: Path, **greys: int) -> Path:
    """Images of 2 x 2 pixels, each of one grey."""
    for name, grey in greys.items():
        write_image(
            folder / f"{name}.png", from_tensor(torch.full((3, 2, 2), grey, dtype=torch.uint8))
        )
    return folder


def grey(references: References, name: str) -> int:
    return int(references.of(Path("elsewhere") / name)[0, 0, 0, 0])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("A0001.bmp", 1),
        ("A0001_00_03.bmp", 1),  # PIPAL
        ("A0001_00_07.bmp", 4),  # its own name goes first
        ("i01_01_1.bmp", 2),  # TID2013
        ("cat_night_x4.png", 6),  # the longest
        ("cat_day_x4.png", 5),
    ],
)
def test_the_original_of_an_image(tmp_path: Path, image: str, expected: int) -> None:
    names = {"A0001": 1, "I01": 2, "A0001_00_07": 4, "cat": 5, "cat_night": 6}
    assert grey(References(originals(tmp_path, **names)), image) == expected


def test_no_original_and_several(tmp_path: Path) -> None:
    references = References(originals(tmp_path, A0001=1, Dog=2, dog=3))
    with pytest.raises(InvalidInput, match=r"no reference named A00011_00, nor .*: A00011") as none:
        references.of(Path("A00011_00.bmp"))
    assert none.value.field == "reference"
    with pytest.raises(InvalidInput, match=r"several references for DOG_1: Dog\.png, dog\.png"):
        references.of(Path("DOG_1.png"))
    assert grey(references, "dog_1.png") == 3
