from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.srgan.data.image_store import ImageEntry
from ranksrgan.srgan.data.paired_images import divided, match_pairs


class Store:
    """Names and sizes alone."""

    kept_bytes = 0

    def __init__(self, folder: str, **sizes: tuple[int, int]) -> None:
        self.folder = Path(folder)
        self.entries = [
            ImageEntry(name=".".join(name.rsplit("_", 1)), width=width, height=height, sha256="")
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


def test_realsr_s_names_match_in_two_folders_and_in_one() -> None:
    hr = Store("hr", Canon001_HR_png=(41, 80), Canon002_HR_png=(40, 40))
    lr = Store("lr", Canon002_LR4_png=(10, 10), Canon001_LR4_png=(10, 20))
    assert match_pairs(lr, hr, 4) == [1, 0]
    both = {"Canon001_LR2_png": (20, 40), "Canon001_LR4_png": (10, 20)}
    both |= {"Canon001_HR_png": (41, 80), "Canon002_LR4_png": (10, 10)}
    together = Store("both", **both, Canon002_HR_png=(40, 40), readme_png=(5, 5))
    divided_hr, divided_lr = divided(together, 4)
    names = [[entry.name for entry in images.entries] for images in (divided_hr, divided_lr)]
    assert names == [[f"Canon00{i}_{end}.png" for i in (1, 2)] for end in ("HR", "LR4")]
    assert match_pairs(divided_lr, divided_hr, 4) == [0, 1]
    asked: list[tuple[int, ...]] = []
    together.window = lambda *place: asked.append(place)
    divided_hr.window(1, 2, 3, 4, 5)
    divided_lr.window(0, 2, 3, 4, 5)
    assert asked == [(4, 2, 3, 4, 5), (1, 2, 3, 4, 5)]


def test_one_folder_without_realsr_s_names_is_refused() -> None:
    with pytest.raises(InvalidDataset, match=r"both is to hold HR and LR .* Canon001_HR\.png has"):
        divided(Store("both", a_png=(41, 80)), 4)
    with pytest.raises(InvalidDataset, match="none has a name that ends in _LR4"):
        divided(Store("both", a_HR_png=(41, 80), a_LR2_png=(20, 40)), 4)
    hr = Store("hr", a_HR_png=(40, 40))
    with pytest.raises(InvalidDataset, match=r"a_HR\.png has no LR image a_LR4 or a_HR or a_HRx4"):
        match_pairs(Store("lr", a_png=(10, 10)), hr, 4)


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
