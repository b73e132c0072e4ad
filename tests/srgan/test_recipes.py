"""Every recipe: what it differs in, and fifty steps on photographs that lower its loss."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.checkpoint import hash_tensors, save_weights
from ranksrgan.contracts.config import recipe_names
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.ranker.vgg import VGG8
from ranksrgan.srgan import train
from ranksrgan.srgan.config import RECIPES, TrainConfig, load_recipe

NAMES = recipe_names(RECIPES)
ABLATIONS = [name for name in NAMES if name.startswith("ranksrgan_")]


def flat(content: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def differences(name: str, base: str) -> dict[str, object]:
    """What a recipe has another value for."""
    ours, theirs = (flat(load_recipe(one).model_dump()) for one in (name, base))
    return {key: ours.get(key) for key in ours.keys() | theirs if ours.get(key) != theirs.get(key)}


def rankers_of(config: TrainConfig) -> dict[str, float]:
    return {
        ranker.spec.removeprefix("runs/ranker_").removesuffix("/ranker.safetensors"): ranker.weight
        for ranker in config.losses.rank.rankers
    }


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_differs_in_what_it_is_about_alone(name: str) -> None:
    about = differences(name, "ranksrgan")
    rankers = rankers_of(load_recipe(name))
    kind = name.removeprefix("ranksrgan_")
    if kind == "as_published":
        assert about == {
            "generator.as_published": True,
            "discriminator.architecture": "vgg_296",
            "losses.rank.weight": 0.03,
            "losses.rank.reduction": "sum",
            "run.precision": "float32",
        }
        return
    del about["losses.rank.rankers"]
    if kind in {"identity", "exp"}:
        assert about == {"losses.rank.function": kind}
    elif kind in {"mse1", "mse5"}:
        assert about.pop("losses.pixel.criterion") == "mse"
        assert about == {"losses.pixel.weight": float(kind[-1])}
    else:
        assert about == {}
        assert rankers == dict.fromkeys(
            ["blur", "interpolation"] if kind == "blur_interpolation" else [kind], 1.0
        )
        return
    assert rankers == {"niqe": 1.0}


def test_the_control_is_ranksrgan_without_its_rank_loss() -> None:
    assert differences("srgan_control", "ranksrgan") == {"losses.rank.weight": 0.0}


def test_esrgan_is_srgan_with_another_generator_and_loss() -> None:
    about = differences("esrgan", "srgan")
    assert about == {
        "generator.architecture": "rrdbnet",
        "generator.blocks": 23,
        "generator.growth": 32,
        "losses.adversarial.criterion": "relativistic",
    }
    esrgan = load_recipe("esrgan")
    assert (esrgan.losses.pixel.weight, esrgan.losses.adversarial.weight) == (0.01, 0.005)


@pytest.fixture(scope="module")
def photographs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen of the training photographs of BSDS500."""
    folder = tmp_path_factory.mktemp("photographs")
    for path in sorted((shared_data / "images" / "bsds500_train").iterdir())[:128:8]:
        os.symlink(path, folder / path.name)
    return folder


def write_tiny_ranker(path: Path, seed: int, higher_is_better: bool) -> None:
    """A Ranker with statistics of its own, whose scores lie where a sigmoid has a slope."""
    random = torch.Generator().manual_seed(seed)
    network = VGG8(2, random)
    for _ in range(10):
        network(torch.rand(4, 3, 32, 32, generator=random))
    path.parent.mkdir(parents=True)
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="vgg8",
        options=network.options,
        about={"metric": "ma" if higher_is_better else "niqe", "higher_is_better": higher_is_better},
    )


def small(name: str, photographs: Path, shared_data: Path) -> TrainConfig:
    """The recipe with a tiny network, tiny crops and what else makes fifty steps take seconds."""
    overrides = [
        f"data.hr={photographs}",
        "data.crop=32",
        "data.batch=4",
        "data.workers=1",
        "generator.features=8",
        "generator.blocks=1",
        "optimiser.generator_lr=5e-3",
        "run.steps=50",
        "run.device=cpu",
        "run.precision=float32",
        "run.tensorboard=false",
    ]
    full = load_recipe(name)
    if full.generator.as_published:
        overrides.append("optimiser.generator_lr=2e-2")  # its weights are a tenth of the others'
    if full.generator.architecture == "rrdbnet":
        overrides.append("generator.growth=4")
    if full.discriminator is not None:
        overrides.append("discriminator.width=4")
        if full.discriminator.architecture == "vgg_296":
            overrides.append("data.crop=288")
            overrides.append("data.batch=1")
    if full.losses.perceptual.weight:
        weights = shared_data / "weights" / "perceptual" / "vgg19_distilled16x_relu5_1.pth"
        overrides += [f"losses.perceptual.network={weights}", "losses.perceptual.weight=0.1"]
    if full.losses.rank.weight and not full.losses.rank.rankers:
        overrides.append("losses.rank.rankers=[{spec: runs/ranker_niqe/ranker.safetensors}]")
    return load_recipe(name, overrides)


@pytest.mark.parametrize("name", NAMES)
def test_fifty_steps_lower_the_loss_and_leave_the_rankers_as_they_were(
    name: str,
    photographs: Path,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small(name, photographs, shared_data)
    opened: list[Ranker] = []
    for seed, one in enumerate(config.losses.rank.rankers):
        write_tiny_ranker(Path(one.spec), seed, higher_is_better="_ma" in one.spec)
        ranker = open_scorer(one.spec + "?device=cpu")
        assert isinstance(ranker, Ranker)
        opened.append(ranker)
    states = [hash_tensors(ranker._network.state_dict()) for ranker in opened]

    losses: list[float] = []
    used = [1.0 for _ in opened]
    result = train(
        config,
        tmp_path / "run",
        rankers=list(zip(opened, used, strict=True)),
        on_step=lambda _, values: losses.append(values["generator"]),
    )
    assert result.finished
    assert len(losses) == 50
    assert np.isfinite(losses).all()
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    for ranker, state in zip(opened, states, strict=True):
        assert hash_tensors(ranker._network.state_dict()) == state
        assert all(parameter.grad is None for parameter in ranker._network.parameters())
    shutil.rmtree(tmp_path / "run")
