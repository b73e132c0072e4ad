"""Crops of real scenes: reduced, then with noise, the same for the same seed and number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.metrics import imresize_uint8
from ranksrgan.srgan.config import DataConfig, TrainConfig
from ranksrgan.srgan.data.crops import CropSource, open_crops, read_photograph
from ranksrgan.srgan.data.degradation import Bicubic, RealScene
from ranksrgan.srgan.data.noise_pool import Flat, NoisePool
from ranksrgan.srgan.data.real_scene import Scene

MakeSource = Callable[..., CropSource]


@pytest.fixture
def noise(tmp_path: Path) -> RealScene:
    """One photograph of grey noise."""
    random = np.random.default_rng(0)
    pixels = (100 + random.normal(0, 3, (48, 48, 3))).round().astype(np.uint8)
    write_image(tmp_path / "noise" / "wall.png", Picture(pixels))
    return RealScene(noise=tmp_path / "noise", patch=24, window=8)


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    for name, side in (("a", 8), ("b", 12)):
        line = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / 4)
        np.save(folder / f"{name}.npy", np.outer(line, line))
    return folder


@pytest.fixture
def source(hr_folder: Path) -> MakeSource:
    def make(
        degradation: Bicubic | RealScene, *, seed: int = 5, workers: int = 1, **changes: Any
    ) -> CropSource:
        data = DataConfig(
            hr=hr_folder,
            degradation=degradation,
            crop=32,
            memory_mib=64,
            workers=workers,
            **changes,
        )
        return CropSource(data, scale=4, seed=seed)

    return make


def test_without_noise_and_kernels_it_is_bicubic(source: MakeSource) -> None:
    plain, scene = source(Bicubic()), source(RealScene())
    assert plain.fingerprint == scene.fingerprint
    for k in range(5):
        for found, expected in zip(scene.sample(k), plain.sample(k), strict=True):
            assert torch.equal(found, expected)


def test_noise_is_added_to_the_bicubic_crop(source: MakeSource, noise: RealScene) -> None:
    plain, noisy = source(Bicubic()), source(noise)
    differences = []
    for k in range(8):
        (clean, hr), (lr, same) = plain.sample(k), noisy.sample(k)
        assert torch.equal(hr, same)
        differences.append(lr.double() - clean.double())
    found = torch.stack(differences)
    assert found.std() == pytest.approx(3.0, rel=0.1)
    # Zero on average but for clamping and rounding of single pixels.
    assert found.mean(dim=(2, 3)).abs().max() < 0.6
    assert len({difference.numpy().tobytes() for difference in differences}) == 8
    again = source(noise, workers=2)
    assert all(torch.equal(again.sample(k)[0], noisy.sample(k)[0]) for k in range(8))
    assert not torch.equal(source(noise, seed=6).sample(0)[0], noisy.sample(0)[0])


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_by_kernels_is_the_reduced_whole_image_cropped(
    hr_folder: Path, source: MakeSource, kernels: Path, turned: bool
) -> None:
    scene = RealScene(kernels=kernels)
    crops = source(scene, flip=turned, rotate=turned)
    wholes = []
    for index in range(4):
        hr = read_photograph(hr_folder / f"{index}.png", 4).hr
        wholes += [k.reduce(hr) for k in Scene(scene, 4)._kernels]
    used = set()
    for k in range(12):
        lr, _ = crops.sample(k)
        views = [lr, lr.transpose(1, 2)]
        views = [view.flip(axes) for view in views for axes in ([], [1], [2], [1, 2])]
        found = [
            number
            for number, whole in enumerate(wholes)
            for view in (views if turned else [lr])
            if (whole.unfold(1, 8, 1).unfold(2, 8, 1) == view[:, None, None])
            .all(-1).all(-1).all(0).any()
        ]  # fmt: skip
        assert len(found) == 1
        used.add(found[0] % 2)
    assert used == {0, 1}


def test_noise_comes_on_top_of_lr_images_that_are_given(
    hr_folder: Path, source: MakeSource, noise: RealScene, tmp_path: Path
) -> None:
    for path in hr_folder.iterdir():
        lr = read_photograph(path, 4).lr
        write_image(tmp_path / "lr" / path.name, Picture(lr.permute(1, 2, 0).numpy()))
    given = source(noise, lr=tmp_path / "lr")
    made = source(noise)
    for k in range(4):
        assert all(torch.equal(*pair) for pair in zip(given.sample(k), made.sample(k), strict=True))


def test_a_whole_image_is_degraded_alike(noise: RealScene) -> None:
    hr = torch.randint(60, 200, (3, 40, 60), dtype=torch.uint8)
    scene = Scene(noise, 4)
    found = scene.degrade(hr, np.random.default_rng(1))
    assert noise.noise is not None
    pool = NoisePool.collect(noise.noise, Flat(24), 8, workers=1)
    assert torch.equal(found, pool.add(imresize_uint8(hr, 1 / 4), np.random.default_rng(1)))


def test_the_fingerprint_follows_noise_and_kernels(
    source: MakeSource, noise: RealScene, kernels: Path
) -> None:
    scenes = [
        RealScene(),
        noise,
        RealScene(kernels=kernels),
        noise.model_copy(update={"window": 7}),
    ]
    scenes.append(noise.model_copy(update={"kernels": kernels}))
    assert len({source(scene).fingerprint for scene in scenes}) == len(scenes)


def test_what_is_refused(
    config: Callable[..., TrainConfig], noise: RealScene, kernels: Path
) -> None:
    with pytest.raises(ValueError, match="window is 33; it is cut out of a patch of 24"):
        RealScene(patch=24, window=33)
    with pytest.raises(ValueError, match="leave one of them out"):
        DataConfig(lr=Path("lr"), degradation=RealScene(kernels=kernels))
    DataConfig(lr=Path("lr"), degradation=noise)  # noise of its own is fine
    strict = noise.model_copy(update={"variance": 0.5}).model_dump()
    with pytest.raises(InvalidDataset, match=r"noise: none of its 1 images.*less than 0\.5"):
        open_crops(config(data={"degradation": strict}))
