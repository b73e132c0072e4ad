"""LR images of a validation: by bicubic, given, or as the training makes its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ranksrgan.contracts.errors import InvalidConfig, InvalidDataset, InvalidInput
from ranksrgan.contracts.images import Picture, list_images, write_image
from ranksrgan.metrics import create_scorer
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig, ValidationConfig, load_recipe
from ranksrgan.srgan.data.crops import Photograph, read_photograph
from ranksrgan.srgan.data.degradation import RealScene, SecondOrder, degrade, draw
from ranksrgan.srgan.data.real_scene import Scene
from ranksrgan.srgan.data.validation_images import validation_photographs
from ranksrgan.srgan.evaluate import evaluate_photographs
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.training.state import differing_keys
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

MakeConfig = Callable[..., TrainConfig]
AS_TRAINING = "as_training"


@pytest.fixture
def scene(tmp_path: Path) -> dict[str, Any]:
    """Noise that is strong enough to be seen, of a flat photograph."""
    pixels = 128 + np.random.default_rng(0).integers(-7, 8, (48, 48, 3))
    write_image(tmp_path / "noise" / "flat.png", Picture(pixels.astype(np.uint8)))
    return {"kind": "real_scene", "noise": str(tmp_path / "noise"), "patch": 24, "window": 8}


def bicubic(folder: Path) -> list[Photograph]:
    return [read_photograph(path, 4) for path in list_images(folder)]


def same(found: list[Photograph], wanted: list[Photograph]) -> bool:
    return [each.name for each in found] == [each.name for each in wanted] and all(
        torch.equal(a, b)
        for one, other in zip(found, wanted, strict=True)
        for a, b in ((one.hr, other.hr), (one.lr, other.lr))
    )


def test_bicubic_unless_told_otherwise(
    config: MakeConfig, hr_folder: Path, scene: dict[str, Any]
) -> None:
    chosen = config(data={"degradation": scene}, validation={"hr": str(hr_folder)})
    assert same(validation_photographs(chosen), bicubic(hr_folder))
    plain = config(validation={"hr": str(hr_folder), "degradation": AS_TRAINING})
    assert same(validation_photographs(plain), bicubic(hr_folder))
    with pytest.raises(InvalidConfig, match=r"validation\.hr names no folder"):
        validation_photographs(config())


def test_the_noise_of_the_training_by_the_image_s_number(
    config: MakeConfig, hr_folder: Path, scene: dict[str, Any]
) -> None:
    validation = {"hr": str(hr_folder), "degradation": AS_TRAINING}
    chosen = config(data={"degradation": scene}, validation=validation)
    found = validation_photographs(chosen)
    made = Scene(RealScene.model_validate(scene), 4)
    wanted = [
        photograph._replace(lr=made.degrade(photograph.hr, np.random.default_rng([0, 4, number])))
        for number, photograph in enumerate(bicubic(hr_folder))
    ]
    assert same(found, wanted)
    for noisy, plain in zip(found, bicubic(hr_folder), strict=True):
        assert 1 < (noisy.lr.float() - plain.lr.float()).std() < 10
    # Of every validation and of every seed.
    seeded = config(data={"degradation": scene}, validation=validation, run={"seed": 77})
    assert same(validation_photographs(seeded), found)


def test_the_second_order_of_the_training(config: MakeConfig, hr_folder: Path) -> None:
    chosen = config(
        data={"degradation": {"kind": "second_order"}},
        validation={"hr": str(hr_folder), "degradation": AS_TRAINING},
    )
    found = validation_photographs(chosen)
    assert same(found, validation_photographs(chosen))
    random = np.random.default_rng([0, 4, 1])
    second = bicubic(hr_folder)[1]
    expected = degrade(second.hr, 4, draw(SecondOrder(), random), random)
    assert torch.equal(found[1].lr, expected)
    assert found[1].lr.shape == second.lr.shape


@pytest.fixture
def lr_folder(tmp_path: Path, hr_folder: Path) -> Path:
    """Pixels of their own, named as DIV2K names them."""
    for number, photograph in enumerate(bicubic(hr_folder)):
        shape = (*photograph.lr.shape[1:], 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        name = f"{Path(photograph.name).stem}x4.png"
        write_image(tmp_path / "lr" / name, Picture(pixels))
    return tmp_path / "lr"


def test_lr_images_that_are_given(
    config: MakeConfig, hr_folder: Path, lr_folder: Path, scene: dict[str, Any]
) -> None:
    validation = {"hr": str(hr_folder), "lr": str(lr_folder)}
    found = validation_photographs(config(validation=validation))
    for number, (pair, plain) in enumerate(zip(found, bicubic(hr_folder), strict=True)):
        assert (pair.name, pair.hr.shape) == (plain.name, plain.hr.shape)
        assert torch.equal(pair.hr, plain.hr)
        shape = (*plain.lr.shape[1:], 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        assert torch.equal(pair.lr.permute(1, 2, 0), torch.from_numpy(pixels))
    # Noise without kernels may come on top, as in a training.
    noisy = validation_photographs(
        config(data={"degradation": scene}, validation={**validation, "degradation": AS_TRAINING})
    )
    made = Scene(RealScene.model_validate(scene), 4)
    expected = made.add_noise(found[2].lr, np.random.default_rng([0, 4, 2]))
    assert torch.equal(noisy[2].lr, expected)
    assert not torch.equal(noisy[2].lr, found[2].lr)


def test_pairs_in_one_folder(config: MakeConfig, hr_folder: Path, tmp_path: Path) -> None:
    (photograph, *_) = bicubic(hr_folder)
    for name, image in (("a_HR", photograph.hr), ("a_LR4", photograph.lr)):
        pixels = image.permute(1, 2, 0).numpy()
        write_image(tmp_path / "pairs" / f"{name}.png", Picture(np.ascontiguousarray(pixels)))
    pairs = str(tmp_path / "pairs")
    found = validation_photographs(config(validation={"hr": pairs, "lr": pairs}))
    assert same(found, [photograph._replace(name="a_HR.png")])


def test_lr_images_that_do_not_match(
    config: MakeConfig, hr_folder: Path, lr_folder: Path, tmp_path: Path
) -> None:
    chosen = config(validation={"hr": str(hr_folder), "lr": str(lr_folder)})
    _, second, *_ = list_images(lr_folder)
    second.rename(lr_folder / "other.png")
    with pytest.raises(InvalidDataset, match=r"has no LR image .* in .*lr"):
        validation_photographs(chosen)
    write_image(second, Picture(np.zeros((3, 3, 3), np.uint8)))
    with pytest.raises(InvalidDataset, match=r"is 3 x 3; .* at scale 4"):
        validation_photographs(chosen)
    nowhere = {"hr": str(hr_folder), "lr": str(tmp_path / "nowhere")}
    with pytest.raises(InvalidInput, match="nowhere"):
        validation_photographs(config(validation=nowhere))


@pytest.mark.parametrize(
    ("data", "validation", "message"),
    [
        ({}, {"lr": "l"}, "validation.lr belongs to images of validation.hr: give both"),
        (
            {"lr": "l"},
            {"hr": "h", "degradation": AS_TRAINING},
            "whose LR images data.lr gives: give those of validation.hr as validation.lr",
        ),
        (
            {"degradation": {"kind": "second_order"}},
            {"hr": "h", "lr": "l", "degradation": AS_TRAINING},
            "validation.lr gives the LR images and data.degradation makes them",
        ),
        ({}, {"hr": "h", "degradation": "blur"}, "'bicubic' or 'as_training'"),
    ],
)
def test_what_contradicts_itself(
    config: MakeConfig, data: dict[str, Any], validation: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        config(data=data, validation=validation)


def test_what_is_written_of_a_bicubic_validation_is_what_always_was() -> None:
    """Experiments address their trainings by it."""
    assert list(ValidationConfig().model_dump(mode="json")) == [
        *("hr", "every", "border", "scorers", "if_available", "best", "drift")
    ]
    chosen = ValidationConfig(hr=Path("h"), lr=Path("l"), degradation="as_training")
    written = chosen.model_dump(mode="json")
    assert (written["lr"], written["degradation"]) == ("l", "as_training")
    assert ValidationConfig.model_validate(written) == chosen


def test_how_lr_is_made_counts_for_a_resume_where_there_is_a_validation(hr_folder: Path) -> None:
    def written(*changes: str) -> dict[str, Any]:
        return load_recipe("cria_edl", list(changes)).model_dump(mode="json")

    as_before = "validation.degradation=bicubic"
    assert differing_keys(written(as_before), written()) == []
    hr = f"validation.hr={hr_folder}"
    assert differing_keys(written(hr, as_before), written(hr)) == [
        "validation.degradation: None then, as_training now"
    ]


def test_a_training_is_judged_on_its_own_task(
    config: MakeConfig, hr_folder: Path, scene: dict[str, Any], tmp_path: Path
) -> None:
    scores = {}
    for kind in ("bicubic", AS_TRAINING):
        chosen = config(
            data={"degradation": scene},
            validation={"hr": str(hr_folder), "degradation": kind, "every": 2},
            run={"steps": 2},
        )
        result = train(chosen, tmp_path / kind)
        upscaler = GeneratorUpscaler(load_generator(result.generator), device="cpu")
        scorers = {"psnr": create_scorer("psnr", border=4)}
        found = evaluate_photographs(upscaler, validation_photographs(chosen), scorers)
        assert result.scores["psnr"] == pytest.approx(found.mean("psnr"), abs=1e-6)
        scores[kind] = result.scores["psnr"]
    assert scores["bicubic"] != scores[AS_TRAINING]
