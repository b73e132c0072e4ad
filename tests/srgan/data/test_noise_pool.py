"""Flat patches of photographs, and the noise that is drawn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.srgan.cli import main
from ranksrgan.srgan.data import noise_pool
from ranksrgan.srgan.data.noise_pool import Flat, NoisePool, _grey, save_pool

SMALL = Flat(patch=16)


def photograph(kinds: list[list[str]], seed: int = 0) -> np.ndarray:
    """Squares of 16 pixels: noise of the camera, of a scene, black, or of colours alone."""
    random = np.random.default_rng(seed)

    def square(kind: str) -> np.ndarray:
        if kind == "black":
            return np.zeros((16, 16, 3))
        base = random.uniform(80, 160, 3)
        return base + random.normal(0, {"flat": 3, "scene": 30}[kind], (16, 16, 3))

    rows = [np.concatenate([square(kind) for kind in row], axis=1) for row in kinds]
    return np.concatenate(rows).clip(0, 255).astype(np.uint8)


def test_grey_is_pillow_s() -> None:
    """The threshold was published for its grey."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(_grey(pixels), np.asarray(Image.fromarray(pixels).convert("L")))


def test_flat_patches_are_found_where_they_are() -> None:
    image = photograph([["flat", "scene", "flat"], ["black", "scene", "flat"]])
    image = np.pad(image, ((0, 9), (0, 15), (0, 0)), mode="edge")  # no whole patch more
    found = list(SMALL.patches(image))
    expected = [image[:16, :16], image[:16, 32:48], image[16:32, 32:48]]
    assert len(found) == 3
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))
    assert all(_grey(patch).var() < 20 for patch in found)
    # Black has no variance, but shows no noise either; DPED's threshold leaves out dark ones.
    darker = image // 4
    assert len(list(Flat(16, mean=50).patches(darker))) == 0
    assert len(list(Flat(16).patches(darker))) >= 3
    # The thresholds themselves are out.
    step = np.zeros((16, 16, 3), np.uint8)
    step[::2] = 4  # variance 4, mean 2
    assert [len(list(Flat(16, v, m).patches(step))) for v, m in ((4, 0), (4.1, 0), (4.1, 2))] == [
        0,
        1,
        0,
    ]


def test_noise_has_no_mean_and_comes_from_a_patch() -> None:
    patch = photograph([["flat"]], 3)
    pool = NoisePool([patch], window=8)
    noise = pool.draw(8, 8, np.random.default_rng(1))
    assert noise.shape == (8, 8, 3)
    assert np.abs(noise.mean(axis=(0, 1))).max() < 1e-6
    windows = np.lib.stride_tricks.sliding_window_view(patch, (8, 8), (0, 1)).astype(float)
    windows = windows - windows.mean(axis=(3, 4), keepdims=True)
    distance = np.abs(windows - noise.transpose(2, 0, 1)).max(axis=(2, 3, 4))
    assert (distance < 1e-9).sum() == 1
    # More than a window is several.
    large = pool.draw(20, 13, np.random.default_rng(1))
    for top in range(0, 20, 8):
        for left in range(0, 13, 8):
            block = large[top : min(top + 8, 20), left : min(left + 8, 13)]
            assert np.abs(block.mean(axis=(0, 1))).max() < 1e-6
            assert block.std() > 1


def test_noise_is_added_clamped_and_rounded_and_chance_is_the_caller_s() -> None:
    pool = NoisePool([photograph([["flat"]], seed) for seed in range(4)], window=8)
    grey = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    made = pool.add(grey, np.random.default_rng(5))
    noise = pool.draw(8, 8, np.random.default_rng(5)).transpose(2, 0, 1)
    assert np.array_equal(made.numpy(), np.rint(100 + noise).astype(np.uint8))
    assert torch.equal(pool.add(grey, np.random.default_rng(5)), made)
    assert not torch.equal(pool.add(grey, np.random.default_rng(6)), made)
    for edge in (0, 255):
        ends = pool.add(torch.full((3, 8, 8), edge, dtype=torch.uint8), np.random.default_rng(5))
        assert (ends == edge).sum() >= 60
        assert (ends.int() - edge).abs().max() < 20


def test_a_pool_is_collected_from_a_folder_or_from_its_own_patches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kinds in (("b", [["flat", "scene"]]), ("a", [["scene", "flat"], ["flat", "flat"]])):
        write_image(tmp_path / "photographs" / f"{name}.png", Picture(photograph(kinds)))
    collected = NoisePool.collect(tmp_path / "photographs", SMALL, 8, workers=2)
    assert len(collected) == 4
    command = ["noise-pool", str(tmp_path / "photographs"), "-o", str(tmp_path / "pool")]
    assert main([*command, "--patch", "16"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'pool'}: 4 patches\n"
    names = sorted(path.name for path in (tmp_path / "pool").iterdir())
    assert names == ["a_000000.png", "a_000001.png", "a_000002.png", "b_000003.png"]
    assert read_image(tmp_path / "pool" / names[0]).colour.shape == (16, 16, 3)
    again = NoisePool.collect(tmp_path / "pool", SMALL, 8, workers=1)
    assert again.fingerprint == collected.fingerprint
    with pytest.raises(InvalidInput, match="holds something already"):
        save_pool(tmp_path / "photographs", tmp_path / "pool", SMALL, 1)
    command[-1] = str(tmp_path / "none")
    assert main([*command, "--patch", "16", "--variance", "0"]) == 1
    error = capsys.readouterr().err
    assert error.endswith("more are flat with a higher variance, or a smaller patch\n")
    assert "data.degradation" not in error  # that a training has, and this command not


def test_a_pool_that_is_interrupted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "photographs" / "a.png", Picture(photograph([["flat"] * 4])))
    written: list[Path] = []

    def write(path: Path, picture: Picture) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        write_image(path, picture)
        written.append(path)

    monkeypatch.setattr(noise_pool, "write_image", write)
    with pytest.raises(KeyboardInterrupt):
        save_pool(tmp_path / "photographs", tmp_path / "pool", SMALL, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["photographs"]
    monkeypatch.undo()
    (tmp_path / "pool").mkdir()
    assert save_pool(tmp_path / "photographs", tmp_path / "pool", SMALL, 1) == 4
    assert len(list((tmp_path / "pool").iterdir())) == 4


def test_a_pool_without_a_patch_names_threshold_and_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", Picture(photograph([["scene", "black"]])))
    with pytest.raises(
        InvalidDataset, match=r"none of its 1 images .* 16 pixels .* than 20 around more than 0"
    ) as refused:
        NoisePool.collect(tmp_path, SMALL, 8, workers=1)
    assert refused.value.field == str(tmp_path)
    with pytest.raises(InvalidInput, match="not a folder"):
        NoisePool.collect(tmp_path / "nowhere", SMALL, 8, workers=1)
    write_image(tmp_path / "b.png", Picture(photograph([["flat"]])))
    with pytest.raises(InvalidInput, match="window is 17; the patches of the pool are 16") as wide:
        NoisePool.collect(tmp_path, SMALL, 17, workers=1)
    assert wide.value.field == "data.degradation.window"
