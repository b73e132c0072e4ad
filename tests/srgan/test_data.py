from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidDataset, InvalidImage, InvalidInput
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.metrics import imresize_uint8
from ranksrgan.srgan.data import CropSource, read_photograph

MakeSource = Callable[..., CropSource]


@pytest.fixture
def source(hr_folder: Path) -> MakeSource:
    def make(folder: Path = hr_folder, **changes: object) -> CropSource:
        options: dict[str, object] = {
            "scale": 4,
            "crop": 32,
            "batch": 3,
            "flip": True,
            "rotate": True,
            "seed": 5,
            "memory_mib": 64,
            "workers": 2,
        }
        return CropSource(folder, **(options | changes))

    return make


def test_a_photograph_is_cut_to_whole_lr_pixels_and_reduced_at_8_bits(hr_folder: Path) -> None:
    photograph = read_photograph(hr_folder / "3.png", 4)  # 104 rows, 107 columns
    assert photograph.hr.shape == (3, 104, 104)
    assert photograph.lr.shape == (3, 26, 26)
    assert torch.equal(photograph.lr, imresize_uint8(photograph.hr, 1 / 4))


def test_grey_16_bit_and_transparent_images_become_8_bit_rgb(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8, 1), dtype=np.uint16)
    write_image(tmp_path / "deep.png", Picture(deep, np.full((8, 8), 7, np.uint16)))
    hr = read_photograph(tmp_path / "deep.png", 4).hr
    expected = np.round(deep[..., 0] / 257).astype(np.uint8)
    assert hr.shape == (3, 8, 8)
    assert all(np.array_equal(plane, expected) for plane in hr.numpy())


@pytest.mark.parametrize(("flip", "rotate"), [(False, False), (True, True)])
@pytest.mark.parametrize("memory_mib", [0, 64])
def test_lr_crops_are_the_reduced_whole_image_cropped(
    hr_folder: Path, source: MakeSource, flip: bool, rotate: bool, memory_mib: int
) -> None:
    photographs = [read_photograph(hr_folder / f"{i}.png", 4) for i in range(4)]
    crops = source(flip=flip, rotate=rotate, memory_mib=memory_mib)
    turned = 0
    for k in range(24):
        lr, hr = crops.sample(k)
        assert lr.shape == (3, 8, 8)
        assert hr.shape == (3, 32, 32)
        found = [
            (turn, top, left)
            for photograph in photographs
            for turn, view in enumerate(orientations(lr))
            for top, left in places(photograph.lr, view)
            if torch.equal(
                orientations(hr)[turn],
                photograph.hr[:, 4 * top : 4 * top + 32, 4 * left : 4 * left + 32],
            )
        ]
        assert len(found) == 1
        turned += found[0][0] != 0
    assert turned > 12 if flip else turned == 0


def orientations(image: torch.Tensor) -> list[torch.Tensor]:
    """All eight, the original first."""
    views = [image, image.transpose(1, 2)]
    return [view.flip(axes) for view in views for axes in ([], [1], [2], [1, 2])]


def places(image: torch.Tensor, crop: torch.Tensor) -> list[tuple[int, int]]:
    windows = image.unfold(1, 8, 1).unfold(2, 8, 1)  # (3, y, x, 8, 8)
    same = (windows == crop[:, None, None]).all(-1).all(-1).all(0)
    return [(int(top), int(left)) for top, left in same.nonzero()]


def test_samples_depend_on_seed_and_number_alone(source: MakeSource) -> None:
    one, other = source(), source(workers=1, memory_mib=0)
    straight = list(one.batches(1, 6))
    later = list(other.batches(4, 6))
    assert len(straight) == 6
    for a, b in zip(straight[3:], later, strict=True):
        assert torch.equal(a.lr, b.lr)
        assert torch.equal(a.hr, b.hr)
    assert torch.equal(straight[2].hr[1], one.sample(7)[1])
    assert not torch.equal(source(seed=6).sample(7)[1], one.sample(7)[1])


def test_every_image_comes_once_an_epoch(hr_folder: Path, source: MakeSource) -> None:
    for index in range(4):  # a colour tells the image
        write_image(hr_folder / f"{index}.png", Picture(np.full((40, 40, 3), 50 * index, np.uint8)))
    crops = source()
    orders = [
        [int(crops.sample(k)[1][0, 0, 0]) // 50 for k in range(e, e + 4)] for e in range(0, 40, 4)
    ]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len({tuple(order) for order in orders}) > 3


def test_the_fingerprint_follows_the_pixels(hr_folder: Path, source: MakeSource) -> None:
    before = source().fingerprint
    assert source(memory_mib=0).fingerprint == before
    write_image(hr_folder / "0.png", Picture(np.zeros((101, 110, 3), np.uint8)))
    assert source().fingerprint != before


def test_what_cannot_be_used_is_refused_before_the_first_step(
    hr_folder: Path, source: MakeSource, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        source(tmp_path / "nowhere")
    with pytest.raises(InvalidDataset, match=r"crops of 104 pixels do not fit"):
        source(crop=104)
    path = hr_folder / "2.png"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InvalidImage, match=r"2\.png"):
        source()


def test_an_error_in_a_thread_is_raised_where_its_batch_is_due(
    hr_folder: Path, source: MakeSource
) -> None:
    crops = source(memory_mib=0)
    (hr_folder / "1.png").unlink()
    with pytest.raises(InvalidImage, match=r"1\.png"):
        list(crops.batches(1, 4))
