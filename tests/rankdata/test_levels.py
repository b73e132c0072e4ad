from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import UpscalerInfo, open_upscaler
from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidInput, UnknownName
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.rankdata.config import BuildConfig
from ranksrgan.rankdata.degradation import Source, read_rgb, read_source
from ranksrgan.rankdata.levels import by_stem, open_levels


def _config(hr: Path, scale: int = 4, **levels: str) -> BuildConfig:
    return BuildConfig(hr=hr, output=hr / "out", levels=levels, scale=scale)


def _make(config: BuildConfig, source: Source) -> dict[str, torch.Tensor]:
    images: dict[str, torch.Tensor] = {}
    for name, level in open_levels(config, [source.name], {}).items():
        images[name] = level.make(source, images)
    return images


def test_bicubic_is_the_upscaled_8_bit_lr_image(hr: Path) -> None:
    source = read_source(hr / "rocket.png", 2)
    images = _make(_config(hr, 2, b="bicubic", h="hr"), source)
    expected = open_upscaler("bicubic?scale=2").upscale(source.lr)
    assert images["b"].dtype == torch.uint8
    assert (images["b"].double() - expected.double() * 255).abs().max() <= 0.5 + 1e-9
    assert torch.equal(images["h"], source.hr)


def test_interpolation_is_exact_to_rounding(hr: Path) -> None:
    source = read_source(hr / "astronaut.png", 4)
    images = _make(
        _config(
            hr, b="bicubic", q="interpolate:b:0.25", one="interpolate:b:1", qq="interpolate:q:0"
        ),
        source,
    )
    # In whole numbers: round((b + 3 hr) / 4), halves up.
    expected = (images["b"].long() + 3 * source.hr.long() + 2) // 4
    assert torch.equal(images["q"].long(), expected)
    assert torch.equal(images["one"], images["b"])
    assert torch.equal(images["qq"], source.hr)


def test_a_name_that_is_not_utf_8(hr: Path) -> None:
    try:
        (hr / "rocket.png").rename(hr / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("the file system has no such names")
    with pytest.raises(InvalidDataset, match=r"holds b'caf\\xe9\.png', whose name is not UTF-8"):
        by_stem(hr)


def test_folder_of_results_is_matched_by_stem(hr: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    source = read_source(hr / "coffee.png", 4)
    flipped = source.hr.flip(-1)
    write_image(results / "coffee.bmp", Picture(flipped[0].permute(1, 2, 0).numpy()))
    assert torch.equal(_make(_config(hr, h="hr", f=str(results)), source)["f"], flipped)


def test_folder_of_versions_of_the_whole_original_is_cropped_as_it_was(hr: Path) -> None:
    source = read_source(hr / "coffee.png", 4)
    images = _make(_config(hr, h="hr", f=str(hr)), source)
    assert torch.equal(images["f"], source.hr)


def test_folder_with_one_image_missing_names_level_and_image(hr: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(hr, results)
    (results / "coffee.png").unlink()
    with pytest.raises(InvalidDataset, match=r"level sr: .* has no image named coffee"):
        open_levels(_config(hr, h="hr", sr=str(results)), by_stem(hr), {})


def test_result_of_another_size(hr: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    pixels = read_rgb(hr / "coffee.png")[0].permute(1, 2, 0).numpy()
    write_image(results / "coffee.png", Picture(pixels[:50]))
    with pytest.raises(
        InvalidDataset, match=r"level sr: .* is 98 x 50 pixels, its source 96 x 100"
    ):
        _make(_config(hr, h="hr", sr=str(results)), read_source(hr / "coffee.png", 4))


def test_two_formats_of_one_image(hr: Path) -> None:
    shutil.copy(hr / "coffee.png", hr / "coffee.bmp")
    with pytest.raises(InvalidDataset, match="'coffee' in several formats"):
        by_stem(hr)


def test_upscaler_of_another_scale(hr: Path) -> None:
    with pytest.raises(InvalidConfig, match="level b: bicubic has scale 4, the dataset 2"):
        open_levels(_config(hr, 2, b="bicubic?scale=4", h="hr"), [], {})


def test_upscaler_for_no_level(hr: Path) -> None:
    with pytest.raises(InvalidConfig, match="given for x; the levels are b, h"):
        open_levels(_config(hr, b="bicubic", h="hr"), [], {"x": open_upscaler("bicubic")})


@pytest.mark.parametrize(
    ("factor", "dtype", "problem"),
    [
        (255, torch.uint8, r"pixels of type torch\.uint8"),
        (255, torch.float32, "values from 0 to "),
        (float("nan"), torch.float32, "values from nan to nan"),
    ],
)
def test_an_upscaler_that_returns_no_picture_is_named(
    hr: Path, factor: float, dtype: torch.dtype, problem: str
) -> None:
    class Own:
        info = UpscalerInfo("own", "1", 4, "toy")

        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            images = images.clone()
            images[..., 0, 0] = 0
            large = images.repeat_interleave(4, 2).repeat_interleave(4, 3)
            return (large * factor).to(dtype)

    level = open_levels(_config(hr, b="own", h="hr"), [], {"b": Own()})["b"]
    with pytest.raises(InvalidInput, match=f"own returned {problem}.* for coffee at level b; a"):
        level.make(read_source(hr / "coffee.png", 4), {})


def test_an_upscaler_that_overshoots_is_clamped(hr: Path) -> None:
    class Own:
        info = UpscalerInfo("own", "1", 4, "toy")

        def upscale(self, images: torch.Tensor) -> torch.Tensor:
            return (images * 3 - 1).repeat_interleave(4, 2).repeat_interleave(4, 3)

    source = read_source(hr / "coffee.png", 4)
    made = open_levels(_config(hr, b="own", h="hr"), [], {"b": Own()})["b"].make(source, {})
    expected = ((source.lr * 3 - 1).clamp(0, 1) * 255 + 0.5).floor().to(torch.uint8)
    assert torch.equal(made[..., ::4, ::4], expected)
    assert made.min() == 0
    assert made.max() == 255


def test_given_upscaler_goes_before_the_spec(hr: Path) -> None:
    given = open_upscaler("bicubic")
    levels = open_levels(_config(hr, b="no-such-model", h="hr"), [], {"b": given})
    assert levels["b"].facts["architecture"] == "bicubic"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("no/such/folder", InvalidInput, "level sr: there is no folder no/such/folder"),
        ("magic", UnknownName, "magic"),
    ],
)
def test_spec_that_leads_nowhere(hr: Path, spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_levels(_config(hr, h="hr", sr=spec), [], {})
