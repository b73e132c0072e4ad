"""No stage is begun where a later one could not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    MissingAsset,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.pipeline.beforehand import check_stages, check_stages_here
from ranksrgan.pipeline.config import PipelineConfig, Trained
from ranksrgan.pipeline.remote import ServiceAddresses, run_remotely
from ranksrgan.pipeline.stages import run
from tests.pipeline.conftest import small_config

NOBODY = ServiceAddresses(*3 * ["unix:/nowhere.sock"])


def changed(config: PipelineConfig, stage: str, *settings: str, **keys: object) -> PipelineConfig:
    """With further settings, or other keys, of a stage."""
    old = getattr(config, stage)
    if settings:
        keys["settings"] = (*old.settings, *settings)
    return config.model_copy(update={stage: old.model_copy(update=keys)})


def at_services(config: PipelineConfig) -> None:
    names = {"training": Path("images/a"), "held_out": Path("images/b"), "output": Path("runs/c")}
    run_remotely(config.model_copy(update=names), NOBODY)


@pytest.mark.parametrize("begin", [run, at_services])
@pytest.mark.parametrize(
    ("stage", "setting", "error", "message"),
    [
        (
            "srgan",
            "discriminator.features=8",
            InvalidConfig,
            r"discriminator\.features=8: .*unkn",
        ),
        ("srresnet", "generator.scale=2", InvalidConfig, "scale is 2; the rank data .* scale 4"),
        ("srgan", "data.crop=30", InvalidConfig, "multiple of the scale"),
        ("ranker", "withd=2", InvalidConfig, "withd=2: unknown key; did you mean width"),
        ("ranker", "crop=200", InvalidDataset, "a crop of the rank data .* no window of crop=200"),
        ("ranker", "jitter=161", InvalidConfig, r"jitter: .*192 x 192 .* takes 32 x 32"),
        (
            "ranksrgan",
            "losses.rank.jitter=1",
            InvalidConfig,
            r"data\.crop is 32 and losses\.rank\.jitter 1; the Ranker takes 32 x 32 .*crop=36",
        ),
        ("ranksrgan", "validation.best=nique", InvalidConfig, "best is nique; it is one of psnr"),
        ("ranksrgan", "losses.rank.wieght=1", InvalidConfig, "wieght=1: .*unknown key"),
        ("control", "run.steps=0", InvalidConfig, r"run\.steps=0"),
    ],
)
def test_a_wrong_setting_of_a_later_stage_is_told_first(
    begin: Callable[[PipelineConfig], object],
    stage: str,
    setting: str,
    error: type[RankSRGANError],
    message: str,
    tmp_path: Path,
) -> None:
    config = small_config(tmp_path)
    with pytest.raises(error, match=f"^stage {stage}: .*{message}"):
        begin(changed(config, stage, setting))
    assert not (config.output / "1-srresnet").exists()


@pytest.mark.parametrize("check", [check_stages, check_stages_here])
def test_recipes_and_metrics_that_there_are_not(
    check: Callable[[PipelineConfig], None], tmp_path: Path
) -> None:
    config = small_config(tmp_path)
    check(config)
    with pytest.raises(UnknownName, match=r"^stage ranksrgan: ranksrgam is neither a recipe"):
        check(changed(config, "ranksrgan", recipe="ranksrgam"))
    with pytest.raises(UnknownName, match=r"^stage rankdata: .*niqee"):
        check(changed(config, "rankdata", metric="niqee"))
    with pytest.raises(InvalidInput, match=r"^stage rankdata: .*bordr"):
        check(changed(config, "rankdata", metric="niqe?bordr=4"))


@pytest.mark.parametrize("begin", [run, at_services])
def test_crops_that_the_metric_does_not_take(
    begin: Callable[[PipelineConfig], object], tmp_path: Path
) -> None:
    config = small_config(tmp_path)
    with pytest.raises(ImageTooSmall, match=r"^stage rankdata: crop: 191 .* niqe: .*crop=192 wo"):
        begin(changed(config, "rankdata", crop=191))
    assert not config.output.exists()


def test_crops_that_no_image_has_room_for(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    message = r"^stage rankdata: crop: no image of .*training has room for 204 x 204 pixels; 200 is"
    with pytest.raises(InvalidDataset, match=message):
        run(changed(config, "rankdata", crop=204))
    assert not config.output.exists()
    for path in config.held_out.iterdir():
        write_image(path, Picture(read_image(path).colour[:196]))
    with pytest.raises(InvalidDataset, match=r"held-out has room for 200 x 200 pixels; 196 is"):
        check_stages_here(changed(config, "rankdata", crop=200))


def test_stages_that_are_left_out_are_not_looked_at(tmp_path: Path) -> None:
    config = changed(small_config(tmp_path), "srgan", "discriminator.features=8")
    trained = Trained(srresnet="srresnet", srgan="srgan")
    check_stages_here(config.model_copy(update={"trained": trained, "control": None}))


def test_what_is_missing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = small_config(tmp_path)
    perceptual = changed(config, "srgan", "losses.perceptual={weight: 1, network: vgg19}")
    check_stages(perceptual)  # a service may have it
    with pytest.raises(MissingAsset, match=r"^stage srgan: .*vgg19"):
        check_stages_here(perceptual)
    with pytest.raises(InvalidConfig, match=r"^stage control: .*cuda"):
        check_stages_here(changed(config, "control", "run.device=cuda:99"))


def test_held_out_images_that_are_too_small_for_the_metric_that_chooses(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    write_image(tmp_path / "few" / "small.png", Picture(pixels))
    small = config.model_copy(update={"held_out": tmp_path / "few"})
    with pytest.raises(InvalidConfig, match=r"^stage srgan: no validation image is fit for niqe"):
        check_stages_here(small)
    one = config.held_out / "cat.png"  # is enough
    (tmp_path / "few" / "cat.png").write_bytes(one.read_bytes())
    check_stages_here(small)
