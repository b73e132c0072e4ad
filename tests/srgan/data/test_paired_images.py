from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.srgan.data.image_store import ImageEntry
from ranksrgan.srgan.data.paired_images import match_pairs


class Store:
    """Names and sizes alone."""

    kept_bytes = 0

    def __init__(self, folder: str, **sizes: tuple[int, int]) -> None:
        self.folder = Path(folder)
        self.entries = [
            ImageEntry(name=name.replace("_", "."), width=width, height=height, sha256="")
            for name, (width, height) in sizes.items()
        ]

    def window(self, index: int, top: int, left: int, height: int, width: int) -> Tensor:
        raise NotImplementedError


def test_names_match_with_and_without_the_scale() -> None:
    hr = Store("hr", a_png=(41, 80), b_jpg=(40, 40), cx2_png=(40, 44))
    lr = Store("lr", ax4_png=(10, 20), b_png=(10, 10), cx2x4_webp=(10, 11))
    assert match_pairs(lr, hr, 4) == [0, 1, 2]
    lr = Store("lr", b_png=(10, 10), cx2x4_webp=(10, 11), ax4_png=(10, 20))
    assert match_pairs(lr, hr, 4) == [2, 0, 1]


@pytest.mark.parametrize(
    ("lr", "said"),
    [
        (Store("lr", a_png=(10, 20)), r"hr/b\.jpg has no LR image b or bx4 in lr"),
        (
            Store("lr", a_png=(10, 20), b_png=(10, 10), c_png=(1, 1)),
            r"lr/c\.png belongs to no HR image in hr",
        ),
        (
            Store("lr", a_png=(10, 20), b_png=(10, 11)),
            r"lr/b\.png is 10 x 11; b\.jpg of 40 x 43 wants 10 x 10 at scale 4",
        ),
        (
            Store("lr", a_png=(20, 10), b_png=(10, 10)),
            r"lr/a\.png is 20 x 10; a\.png of 41 x 80 wants 10 x 20 at scale 4",
        ),
        (Store("lr", ax2_png=(20, 40), b_png=(10, 10)), r"hr/a\.png has no LR image a or ax4"),
        (
            Store("lr", a_png=(10, 20), a_jpg=(10, 20), b_png=(10, 10)),
            r"lr/a\.jpg and a\.png have the same name",
        ),
        (
            Store("lr", a_png=(10, 20), ax4_png=(10, 20), b_png=(10, 10)),
            r"lr/ax4\.png belongs to no HR image",
        ),
    ],
)
def test_disagreements_name_the_file(lr: Store, said: str) -> None:
    with pytest.raises(InvalidDataset, match=said) as caught:
        match_pairs(lr, Store("hr", a_png=(41, 80), b_jpg=(40, 43)), 4)
    assert Path(str(caught.value.field)).name in str(caught.value)
