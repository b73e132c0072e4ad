from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidImage, InvalidInput
from ranksrgan.contracts.images import Picture, from_tensor, write_image
from ranksrgan.metrics import imresize, imresize_uint8
from ranksrgan.srgan.config import DataConfig, TrainConfig
from ranksrgan.srgan.data.crops import Batch, CropSource, Orientation, open_crops, read_photograph
from ranksrgan.srgan.data.degradation import Bicubic, SecondOrder
from ranksrgan.srgan.data.packed_images import pack

MakeSource = Callable[..., CropSource]


@pytest.fixture
def source(hr_folder: Path) -> MakeSource:
    def make(
        folder: Path = hr_folder,
        *,
        scale: int = 4,
        seed: int = 5,
        shard: tuple[int, int] = (0, 1),
        **changes: Any,
    ) -> CropSource:
        data = DataConfig(**({"hr": folder, "crop": 32, "batch": 3, "memory_mib": 64} | changes))
        return CropSource(data, scale=scale, seed=seed, shard=shard)

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


def located(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Red tells the row, green the column, blue is noise of black and white: it ties and clips."""
    rows, columns = np.mgrid[:height, :width]
    noise = 255 * np.random.default_rng(seed).integers(2, size=(height, width))
    return np.stack([rows, columns, noise], -1).astype(np.uint8)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    scale=st.sampled_from([2, 3, 4]),
    side=st.integers(1, 12),
    spare=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    seed=st.integers(0, 1000),
)
def test_a_crop_is_reduced_as_in_the_whole_image_to_the_bit(
    tmp_path: Path,
    source: MakeSource,
    scale: int,
    side: int,
    spare: tuple[int, int],
    seed: int,
) -> None:
    folder = tmp_path / "one"
    folder.mkdir(exist_ok=True)
    pixels = located(*(scale * side + more for more in spare), seed)
    write_image(folder / "0.png", Picture(pixels))
    photograph = read_photograph(folder / "0.png", scale)
    crops = source(folder, scale=scale, crop=scale * side, flip=False, rotate=False, seed=seed)
    for k in range(6):
        lr, hr = crops.sample(k)
        top, left = int(hr[0, 0, 0]) // scale, int(hr[1, 0, 0]) // scale
        assert torch.equal(lr, photograph.lr[:, top : top + side, left : left + side])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_so_it_is_at_all_borders(tmp_path: Path, source: MakeSource, scale: int) -> None:
    side, places = 10, 5
    length = scale * (side + places - 1)
    write_image(tmp_path / "0.png", Picture(located(length + 1, length)))
    whole = read_photograph(tmp_path / "0.png", scale).lr
    crops = source(tmp_path, scale=scale, crop=scale * side, flip=False, rotate=False)
    seen = set()
    for k in range(400):
        lr, hr = crops.sample(k)
        top, left = int(hr[0, 0, 0]) // scale, int(hr[1, 0, 0]) // scale
        assert torch.equal(lr, whole[:, top : top + side, left : left + side])
        seen.add((top, left))
    assert len(seen) == places**2  # every one of them


def test_far_from_the_start_the_weights_are_the_same(tmp_path: Path, source: MakeSource) -> None:
    """1/3 is no binary fraction: its error must not grow along a long image."""
    noise = np.random.default_rng(1).integers(256, size=(12, 30000, 3), dtype=np.uint8)
    write_image(tmp_path / "long.png", Picture(noise))
    for scale in (2, 3, 4):
        lr = read_photograph(tmp_path / "long.png", scale).lr
        crops = source(tmp_path, scale=scale, crop=12, flip=False, rotate=False)
        for k in range(20):
            made, _ = crops.sample(k)
            windows = lr.unfold(2, 12 // scale, 1).transpose(1, 2)  # (3, places, rows, columns)
            assert bool((windows == made[:, None]).all(-1).all(-1).all(0).any())


def orientations(image: torch.Tensor) -> list[torch.Tensor]:
    """All eight, the original first."""
    views = [image, image.transpose(1, 2)]
    return [view.flip(axes) for view in views for axes in ([], [1], [2], [1, 2])]


def places(image: torch.Tensor, crop: torch.Tensor) -> list[tuple[int, int]]:
    windows = image.unfold(1, 8, 1).unfold(2, 8, 1)  # (3, y, x, 8, 8)
    same = (windows == crop[:, None, None]).all(-1).all(-1).all(0)
    return [(int(top), int(left)) for top, left in same.nonzero()]


@pytest.mark.parametrize("scale", [2, 4])
def test_lr_that_is_not_rounded_is_what_bicubic_makes_of_the_whole_image(
    hr_folder: Path, source: MakeSource, scale: int
) -> None:
    options = {"scale": scale, "batch": 12}
    loose, rounded = source(round=False, **options).batch(1), source(**options).batch(1)
    assert loose.lr.dtype == torch.float32
    assert torch.equal(loose.hr, rounded.hr)
    crops = source(round=False, **options)
    photographs = [read_photograph(hr_folder / f"{i}.png", scale).hr for i in range(4)]
    for k, lr in enumerate(loose.lr):
        place = crops._place(k)
        whole = imresize(photographs[place.image].float(), 1 / scale)
        side = 32 // scale
        cut = whole[:, place.top : place.top + side, place.left : place.left + side]
        torch.testing.assert_close(lr, place.orientation.apply(cut), rtol=0, atol=1e-4)
    # MATLAB rounds after each of two passes.
    assert 0.1 < (loose.lr - rounded.lr).abs().max() < 2
    assert (loose.lr % 1 > 0).float().mean() > 0.9


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
    with pytest.raises(InvalidDataset, match=r"crops of 104 pixels do not fit: .* data\.crop"):
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


@pytest.mark.parametrize("count", [2, 3, 6])
@pytest.mark.parametrize("degradation", [Bicubic(), SecondOrder()])
def test_processes_share_the_batch_of_one(
    source: MakeSource, degradation: Bicubic | SecondOrder, count: int
) -> None:
    whole = list(source(batch=6, degradation=degradation).batches(1, 3))
    shares = [
        list(source(batch=6, degradation=degradation, shard=(rank, count)).batches(1, 3))
        for rank in range(count)
    ]
    for step, batch in enumerate(whole):
        joint = Batch(*(torch.cat(parts) for parts in zip(*(s[step] for s in shares), strict=True)))
        assert all(share[step].hr.shape[0] == 6 // count for share in shares)
        assert torch.equal(joint.lr, batch.lr)
        assert torch.equal(joint.hr, batch.hr)


def test_a_batch_that_cannot_be_shared_equally_is_refused(source: MakeSource) -> None:
    with pytest.raises(InvalidInput, match=r"data\.batch is 3; 2 processes") as caught:
        source(shard=(0, 2))
    assert caught.value.field == "data.batch"
    with pytest.raises(InvalidInput, match="rank lies below"):
        source(shard=(3, 3))


def test_orientations_are_undone() -> None:
    image = torch.arange(3 * 4 * 5).view(3, 4, 5)
    ways = [Orientation(*(bool(n & bit) for bit in (1, 2, 4))) for n in range(8)]
    assert all(torch.equal(way.undo(way.apply(image)), image) for way in ways)
    assert len({tuple(way.apply(image).flatten().tolist()) for way in ways}) == 8


@pytest.fixture
def lr_folder(hr_folder: Path, tmp_path: Path) -> Path:
    """LR images that are not the bicubic ones: every fourth pixel, inverted, named like DIV2K's."""
    folder = tmp_path / "lr"
    folder.mkdir()
    for path in hr_folder.iterdir():
        hr = read_photograph(path, 4).hr
        write_image(folder / f"{path.stem}x4.png", from_tensor(255 - hr[:, ::4, ::4]))
    return folder


@pytest.mark.parametrize("memory_mib", [0, 64])
@pytest.mark.parametrize("packed", [False, True])
def test_given_lr_images_are_cut_where_the_hr_images_are(
    hr_folder: Path,
    lr_folder: Path,
    source: MakeSource,
    tmp_path: Path,
    memory_mib: int,
    packed: bool,
) -> None:
    if packed:
        pack(lr_folder, tmp_path / "lr.pack")
        lr_folder = tmp_path / "lr.pack"
    crops = source(lr=lr_folder, memory_mib=memory_mib, flip=False, rotate=False)
    turned = source(lr=lr_folder, memory_mib=memory_mib)
    bicubic = source(flip=False, rotate=False)
    for k in range(12):
        lr, hr = crops.sample(k)
        assert torch.equal(lr, 255 - hr[:, ::4, ::4])
        assert torch.equal(hr, bicubic.sample(k)[1])
        lr2, hr2 = turned.sample(k)
        way = [torch.equal(view, hr) for view in orientations(hr2)].index(True)
        assert torch.equal(orientations(lr2)[way], lr)


def test_the_fingerprint_follows_given_lr_images(
    lr_folder: Path, source: MakeSource, hr_folder: Path
) -> None:
    before = source(lr=lr_folder).fingerprint
    assert before != source().fingerprint
    write_image(lr_folder / "0x4.png", Picture(np.zeros((25, 27, 3), np.uint8)))
    assert source(lr=lr_folder).fingerprint != before


def test_a_pack_gives_the_samples_of_its_folder(
    hr_folder: Path, source: MakeSource, tmp_path: Path
) -> None:
    pack(hr_folder, tmp_path / "hr.pack")
    for made in (Bicubic(), SecondOrder()):
        folder = source(degradation=made)
        packed = source(tmp_path / "hr.pack", degradation=made)
        assert packed.fingerprint == folder.fingerprint
        for a, b in zip(folder.batches(1, 4), packed.batches(1, 4), strict=True):
            assert torch.equal(a.lr, b.lr)
            assert torch.equal(a.hr, b.hr)
    with pytest.raises(InvalidDataset, match=r"hr\.pack/0\.png is 110 x 101; crops of 104"):
        source(tmp_path / "hr.pack", crop=104)


def test_second_order_samples_depend_on_seed_and_number_alone(source: MakeSource) -> None:
    one, other = (
        source(degradation=SecondOrder()),
        source(degradation=SecondOrder(), workers=1, memory_mib=0),
    )
    straight = list(one.batches(1, 5))
    for a, b in zip(straight[2:], other.batches(3, 5), strict=True):
        assert torch.equal(a.lr, b.lr)
        assert torch.equal(a.hr, b.hr)
    plain = source()
    for k in range(15):
        assert torch.equal(one.sample(k)[1], plain.sample(k)[1])  # only LR is another
        assert not torch.equal(one.sample(k)[0], plain.sample(k)[0])
    assert not torch.equal(source(degradation=SecondOrder(), seed=6).sample(0)[0], one.sample(0)[0])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_second_order_crops_are_aligned(tmp_path: Path, source: MakeSource, scale: int) -> None:
    """With next to no degradation an LR pixel is the mean of its HR pixels, at borders too."""
    rows, columns = np.mgrid[:150, :130]
    grey = (rows + 0.6 * columns).astype(np.uint8)
    write_image(tmp_path / "ramp.png", Picture(np.repeat(grey[..., None], 3, -1)))
    mild = {
        "blur": 0,
        "enlarge": 0,
        "shrink": 0,
        "gaussian": 1,
        "noise": (1e-3, 1e-3),
        "quality": (100, 100),
    }
    made = SecondOrder.model_validate({"first": mild, "second": mild, "final_sinc": 0})
    crops = source(tmp_path, degradation=made, scale=scale, crop=12 * scale)
    for k in range(40):
        lr, hr = crops.sample(k)
        mean = torch.nn.functional.avg_pool2d(hr.float(), scale)
        # One LR pixel to the side would be 0.6 * scale levels away.
        assert float((lr.float() - mean).abs().mean()) < 0.6


def test_a_configuration_opens_its_crops(
    hr_folder: Path, lr_folder: Path, source: MakeSource
) -> None:
    def opened(**data: object) -> CropSource:
        content = {"hr": hr_folder, "crop": 32, "batch": 4, **data}
        return open_crops(TrainConfig.model_validate({"data": content, "run": {"seed": 5}}), (1, 2))

    made: dict[str, dict[str, object]] = {
        "bicubic": {},
        "given": {"lr": lr_folder},
        "second": {"degradation": {"kind": "second_order", "first": {"quality": [10, 20]}}},
        "loose": {"round": False},
    }
    options = {"batch": 4, "shard": (1, 2)}
    expected = {
        "bicubic": source(**options),
        "given": source(lr=lr_folder, **options),
        "second": source(
            degradation=SecondOrder.model_validate({"first": {"quality": (10, 20)}}), **options
        ),
        "loose": source(round=False, **options),
    }
    batches = {name: opened(**data).batch(3) for name, data in made.items()}
    for name, batch in batches.items():
        assert torch.equal(batch.lr, expected[name].batch(3).lr)
        assert torch.equal(batch.hr, expected[name].batch(3).hr)
    assert not torch.equal(batches["bicubic"].lr, batches["second"].lr)
    with pytest.raises(InvalidConfig, match=r"data\.hr names no folder"):
        open_crops(TrainConfig())


def test_lr_is_either_given_or_made(hr_folder: Path) -> None:
    data = {"hr": hr_folder, "lr": hr_folder, "degradation": {"kind": "second_order"}}
    with pytest.raises(ValueError, match="leave one of them out"):
        TrainConfig.model_validate({"data": data})
    with pytest.raises(ValueError, match="degradation"):
        TrainConfig.model_validate({"data": {"degradation": {"kind": "third_order"}}})


def test_an_image_that_changed_since_the_start_is_refused(
    hr_folder: Path, source: MakeSource
) -> None:
    crops = source(memory_mib=0)
    for path in hr_folder.iterdir():
        write_image(path, Picture(np.zeros((40, 40, 3), np.uint8)))
    with pytest.raises(InvalidImage, match=r"\.png is no longer 1\d\d x 1\d\d pixels"):
        crops.sample(0)


def test_a_folder_of_realsr_is_hr_and_lr_at_once(
    hr_folder: Path, source: MakeSource, tmp_path: Path
) -> None:
    folder = tmp_path / "Canon"
    for number in range(4):
        photograph = read_photograph(hr_folder / f"{number}.png", 4)
        for name, image in (("HR", photograph.hr), ("LR4", 255 - photograph.lr)):
            pixels = image.permute(1, 2, 0).contiguous().numpy()
            write_image(folder / f"Canon{number:03}_{name}.png", Picture(pixels))
    given, made = source(folder, lr=folder), source()
    assert len(given) == 4
    for k in range(8):
        (lr, hr), (bicubic, same) = given.sample(k), made.sample(k)
        assert torch.equal(hr, same)
        assert torch.equal(lr, 255 - bicubic)
