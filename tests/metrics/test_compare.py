"""Comparisons, and recipes of published tables: the script of RealSR-CCL (``caculate_metric``)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.images import Picture, from_tensor, read_image, write_image
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics import lpips, psnr
from ranksrgan.metrics.cli import main
from ranksrgan.metrics.compare import compare_folders

COMPARE = ["--recipe", "realsr-ccl", "--format", "json"]


def independent_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of ``(H, W)`` float64 in 0..255: windows of 11 x 11, sigma 1.5, inside of the image alone."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x, (11, 11))
        return np.einsum("ijkl,kl->ij", windows, window)

    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2
    covariance = mean(a * b) - mu_a * mu_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * mu_a * mu_b + c1) * (2 * covariance + c2)
    return float((found / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))).mean())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Results and originals: two of noise around smooth colours, of 48 x 56 pixels."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :56]
    for name in ("a", "b"):
        base = np.stack([40 + 2 * rows, 30 + 3 * columns, 90 + rows + columns], axis=2)
        original = (base + random.integers(-20, 21, base.shape)).clip(0, 255)
        result = (original + random.integers(-9, 10, base.shape)).clip(0, 255)
        for folder, pixels in (("hr", original), ("sr", result)):
            write_image(tmp_path / folder / f"{name}.png", Picture(pixels.astype(np.uint8)))
    return tmp_path / "sr", tmp_path / "hr"


def pixels_of(path: Path) -> np.ndarray:
    return read_image(path).colour


def test_caculate_metric(
    folders: tuple[Path, Path],
    random_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every column from its definition, with the border of 4 and without."""
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    sr, hr = folders
    assert main(["compare", str(sr), "--reference", str(hr), *COMPARE]) == 0
    (method,) = json.loads(capsys.readouterr().out)["methods"]
    expected: dict[str, list[float]] = {"psnr": [], "ssim": [], "lpips": []}
    for name in ("a", "b"):
        result, original = (pixels_of(folder / f"{name}.png") for folder in (sr, hr))
        inner = [image[4:-4, 4:-4].astype(np.float64) for image in (result, original)]
        error = ((inner[0] - inner[1]) ** 2).mean()
        expected["psnr"].append(10 * math.log10(255**2 / error))
        channels = [independent_ssim(*(image[..., c] for image in inner)) for c in range(3)]
        expected["ssim"].append(sum(channels) / 3)
        tensors = [torch.tensor(image).permute(2, 0, 1)[None] for image in (result, original)]
        expected["lpips"].append(float(lpips(*tensors, net="alex")))
    assert list(method["mean"]) == ["psnr", "ssim", "lpips"]
    for metric, values in expected.items():
        assert method["mean"][metric] == pytest.approx(sum(values) / 2, abs=1e-6), metric


def test_caculate_metric_of_an_image_that_is_one_step_off() -> None:
    original = torch.randint(1, 255, (1, 3, 32, 32), dtype=torch.uint8)
    step = 2 * torch.randint(0, 2, original.shape) - 1
    found = psnr((original + step).byte(), original, border=4, luma="rgb")
    assert float(found) == pytest.approx(48.1308, abs=1e-4)


def test_caculate_metric_does_not_see_the_border_but_lpips_does(
    folders: tuple[Path, Path],
    random_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    sr, hr = folders
    means = []
    for changed in (False, True):
        if changed:
            for path in sr.iterdir():
                pixels = pixels_of(path).copy()
                pixels[:4], pixels[:, -4:] = 0, 255
                write_image(path, Picture(pixels))
        assert main(["compare", str(sr), "--reference", str(hr), *COMPARE]) == 0
        means.append(json.loads(capsys.readouterr().out)["methods"][0]["mean"])
    assert means[0]["psnr"] == means[1]["psnr"]
    assert means[0]["ssim"] == means[1]["ssim"]
    assert means[0]["lpips"] < means[1]["lpips"]


def test_files_of_16_bits_are_rounded_first(
    folders: tuple[Path, Path],
    random_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    sr, hr = folders
    deep = sr.parent / "deep"
    random = np.random.default_rng(1)
    for path in sr.iterdir():
        pixels = pixels_of(path).astype(np.int64)
        between = (257 * pixels + random.integers(-120, 121, pixels.shape)).clip(0, 65535)
        write_image(deep / path.name, Picture(between.astype(np.uint16)))
    command = ["compare", str(sr), str(deep), "--reference", str(hr), *COMPARE]
    assert main(command) == 0
    eight, sixteen = json.loads(capsys.readouterr().out)["methods"]
    assert eight["mean"] == sixteen["mean"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--border", "0"], "chooses what is measured: no --border"),
        (["--metric", "niqe", "--luma", "y"], "no --metric, --luma"),
        ([], "psnr, ssim, lpips: --reference is needed"),
    ],
)
def test_a_recipe_leaves_nothing_to_choose(
    flags: list[str], said: str, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(folders[0]), "--recipe", "realsr-ccl", *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_service_that_goes_costs_no_method_that_is_there(tmp_path: Path) -> None:
    class Leaving:
        info = ScorerInfo("leaving", "1", True, False, False, 1)
        calls = 0

        def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise ServiceUnavailable("gone")
            return torch.ones(1, dtype=torch.float64)

    for name in ("first", "second"):
        image = torch.zeros(3, 2, 2, dtype=torch.uint8)
        write_image(tmp_path / name / "a.png", from_tensor(image))
    folders = [tmp_path / "first", tmp_path / "second"]
    found = compare_folders(folders, {"leaving": Leaving()}, None, torch.device("cpu"))
    assert [method.means for method in found.methods] == [{"leaving": 1.0}, {}]
    assert [one["error"] for one in found.methods[1].failed] == ["SERVICE_UNAVAILABLE"]
    assert found.best("leaving") == "first"


def test_what_failed_is_told_method_by_method(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sr, hr = folders
    (sr / "a.png").write_bytes(b"")
    (hr / "b.png").write_bytes(b"")
    assert main(["compare", str(sr), str(hr), "--reference", str(hr), "--metric", "psnr"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(".png")[0] for line in told] == [
        f"failed: {path}" for path in (sr / "a", sr / "b", hr / "b")
    ]
