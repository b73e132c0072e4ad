"""A generator's weights and options, opened."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import Upscaler, UpscalerInfo, open_upscaler
from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidInput,
)
from ranksrgan.srgan.upscaling.opening import open_generator, parse_memory
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 2**29),
        ("2GiB", 2**31),
        ("1.5GiB", 3 * 2**29),
        ("300MiB", 300 * 2**20),
        ("9KiB", 9216),
    ],
)
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "0", "0.0GiB", "2GB", "-1", "1e3", "2 GiB", "٣"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="2GiB, 512MiB or 512") as refused:
        parse_memory(text)
    assert refused.value.field == "memory"


def test_info(weights_file: Path) -> None:
    upscaler = open_upscaler(str(weights_file))
    assert isinstance(upscaler, GeneratorUpscaler)
    assert isinstance(upscaler, Upscaler)
    assert upscaler.info == UpscalerInfo(
        name=str(weights_file),
        version="1",
        scale=4,
        architecture="srresnet",
        parameters_hash=load_weights(weights_file).sha256,
    )


def test_options_change_the_work_and_not_the_result(weights_file: Path) -> None:
    images = torch.rand(1, 3, 30, 30)
    plain = open_upscaler(str(weights_file)).upscale(images)
    for options in ("tile=7", "memory=1", "device=cpu", "tile=7&memory=1&device=cpu"):
        other = open_upscaler(f"{weights_file}?{options}").upscale(images)
        torch.testing.assert_close(other, plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tiles": "8"}, "tiles"),
        ({"tile": "0"}, "tile"),
        ({"tile": "-8"}, "tile"),
        ({"tile": "1e2"}, "tile"),
        ({"memory": "lots"}, "memory"),
        ({"precision": "half"}, "precision"),
        ({"device": "abacus"}, "device"),
        ({"device": "cuda:77"}, "device"),
    ],
)
def test_wrong_options_are_refused(weights_file: Path, options: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        open_generator(str(weights_file), options)
    assert refused.value.field == field


def test_weights_of_a_ranker_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    save_weights(
        path, {"w": torch.ones(1)}, kind="ranker", architecture="vgg12", options={"width": 8}
    )
    with pytest.raises(InvalidCheckpoint, match="holds a ranker; a generator is wanted"):
        open_upscaler(str(path))
    with pytest.raises(InvalidCheckpoint, match="ranker"):
        open_generator(str(path), {})
