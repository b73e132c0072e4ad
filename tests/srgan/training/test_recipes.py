"""Every recipe: what it differs in, and fifty steps on photographs that lower its loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksrgan.contracts.checkpoint import hash_tensors, load_weights, save_weights
from ranksrgan.contracts.client import Connection, RemoteScorer
from ranksrgan.contracts.clients.opened_model import OpenedModel
from ranksrgan.contracts.config import recipe_names
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import Picture, read_image, write_image
from ranksrgan.ranker.networks import load_network
from ranksrgan.ranker.opening import load_ranker
from ranksrgan.ranker.scorer import Ranker
from ranksrgan.ranker.vgg import VGG8
from ranksrgan.srgan import train
from ranksrgan.srgan.config import RECIPES, TrainConfig, load_recipe
from ranksrgan.srgan.training.objective import choose_rankers, open_rankers

NAMES = recipe_names(RECIPES)
ABLATIONS = [name for name in NAMES if name.startswith("ranksrgan_")]
#: They differ from another recipe in a weight.
OTHER_WEIGHTS = {"cria_ratio_as_published", "ranksrgan_mse5"}
#: They differ from ranksrgan_niqe in the file of the Ranker, which here is as random in all.
OTHER_RANKERS = {
    f"ranksrgan_{data}"
    for data in (
        *("blur", "blur_interpolation", "fused", "hr_positive", "interpolation", "ma", "noise"),
        *("ma_regression", "niqe_regression", "pi"),
    )
}


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
            "losses.rank.statistics": "batch",
            "data.round": False,
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


def test_cria_s_base_is_esrgan_on_views_in_a_real_scene() -> None:
    """Numbers of train_ntire.yml; the augmentation, the crops and the batch are ESRGAN's too."""
    about = differences("cria_edl", "esrgan")
    assert about.pop("data.degradation.kind") == "real_scene"
    scene = {"patch": 256, "variance": 20, "mean": 0, "window": 32, "noise": None, "kernels": None}
    assert {name: about.pop(f"data.degradation.{name}", None) for name in scene} == scene
    assert about == {
        "generator.architecture": "two_view_rrdbnet",
        "discriminator.architecture": "patch",
        "losses.pixel.view": "second",
        "losses.adversarial.view": "first",
        "optimiser.betas": (0.9, 0.999),
        "optimiser.schedule.milestones": (10_000, 30_000, 50_000, 80_000, 120_000),
        "validation.every": 2500,
        "validation.degradation": "as_training",
        "run.steps": 150_000,
    }
    base = load_recipe("cria_edl")
    assert (base.data.crop, base.data.batch, base.run.seed) == (128, 16, 10)
    assert base.losses.contrast.weights == {}
    compared = (0.01, 1.0, 0.005, 2.0)
    contrast = base.losses.contrast
    assert (
        contrast.pixel,
        contrast.perceptual,
        contrast.adversarial,
        contrast.temperature,
    ) == compared


def test_the_forms_of_cria_differ_in_their_contrast_and_regression_in_its_views() -> None:
    contrast = "losses.contrast."
    assert differences("cria_align_negative", "cria_edl") == {
        f"{contrast}alignment": 0.01,
        f"{contrast}negative": 1e-3,
    }
    assert differences("cria_align_uniform", "cria_edl") == {
        f"{contrast}alignment": 0.01,
        f"{contrast}uniformity": 1e-3,
    }
    assert differences("cria_ratio", "cria_edl") == {f"{contrast}ratio": 1e-3}
    # Weights are products of factors in front of losses that have their weights already.
    assert differences("cria_ratio_as_published", "cria_ratio") == {
        "losses.pixel.weight": 0.01 * 0.01,
        "losses.perceptual.weight": 1e-4 * 1.0,
    }
    assert differences("cria_regression", "cria_edl") == {
        "losses.pixel.view": "fused",
        "losses.adversarial.view": "fused",
    }


def cut(shared_data: Path, folder: Path, side: int) -> Path:
    """The middles of four of the training photographs of BSDS500.

    As large as the crops of the training, so that every step sees the same and its loss can be
    compared with that of another step.
    """
    folder.mkdir()
    for path in sorted((shared_data / "images" / "bsds500_train").iterdir())[::50]:
        colour = read_image(path).colour
        top, left = ((length - side) // 2 for length in colour.shape[:2])
        middle = colour[top : top + side, left : left + side]
        write_image(folder / f"{path.stem}.png", Picture(np.ascontiguousarray(middle)))
    return folder


def write_tiny_ranker(path: Path, seed: int, higher_is_better: bool) -> None:
    """A Ranker with statistics of its own, whose scores lie where a sigmoid has a slope."""
    random = torch.Generator().manual_seed(seed)
    network = VGG8(2, random)
    for _ in range(10):
        network(torch.rand(4, 3, 32, 32, generator=random))
    path.parent.mkdir(parents=True)
    metric = "ma" if higher_is_better else "niqe"
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="vgg8",
        options=network.options,
        about={"metric": metric, "higher_is_better": higher_is_better},
    )


def small(name: str, folder: Path, shared_data: Path) -> TrainConfig:
    """The recipe with a tiny network, tiny crops and what else makes fifty steps take seconds."""
    full = load_recipe(name)
    published = name == "ranksrgan_as_published"  # its discriminator takes no smaller crops
    side, batch = (288, 1) if published else (32, 4)
    overrides = [
        f"data.hr={cut(shared_data, folder, side)}",
        f"data.crop={side}",
        f"data.batch={batch}",
        "data.flip=false",
        "data.rotate=false",
        "data.workers=1",
        "generator.features=8",
        "generator.blocks=1",
        "optimiser.generator_lr=5e-3",
        "run.steps=50",
        "run.device=cpu",
        "run.precision=float32",
        "run.tensorboard=false",
    ]
    if full.generator.growth is not None:
        overrides.append("generator.growth=4")
    if full.discriminator is not None:
        overrides.append("discriminator.width=4")
    if full.losses.perceptual.weight:
        weights = shared_data / "weights" / "perceptual" / "vgg19_distilled16x_relu5_1.pth"
        overrides += [
            f"losses.perceptual.network={weights}",
            "losses.perceptual.layers={relu2_2: 1.0}",
        ]
    if full.losses.rank.weight and not full.losses.rank.rankers:
        overrides.append("losses.rank.rankers=[{spec: runs/ranker_niqe/ranker.safetensors}]")
    return load_recipe(name, overrides)


def test_as_published_the_rankers_normalise_by_the_batch_at_hand(tmp_path: Path) -> None:
    """As a network does that was never put into evaluation, and which of the two a spec may say."""
    path = tmp_path / "ranker" / "ranker.safetensors"
    write_tiny_ranker(path, 0, higher_is_better=False)
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    network = load_network(load_weights(path))
    with torch.no_grad():
        running = network.eval()(images).flatten()
        batch = torch.nn.Module.train(network)(images).flatten()
    assert (running - batch).abs().min() > 1e-4

    def scores(recipe: str, *settings: str, options: str = "") -> torch.Tensor:
        ranker = f"losses.rank.rankers=[{{spec: '{path}?device=cpu{options}'}}]"
        ((opened, weight),) = open_rankers(load_recipe(recipe, [ranker, *settings]))
        assert weight == 1
        with torch.no_grad():
            return opened.score(images).float()

    for recipe, options, wanted in (
        ("ranksrgan", "", running),
        ("ranksrgan", "&statistics=batch", batch),
        ("ranksrgan_as_published", "", batch),
        ("ranksrgan_as_published", "&statistics=running", running),
    ):
        torch.testing.assert_close(scores(recipe, options=options), wanted, rtol=0, atol=1e-5)
    found = scores("ranksrgan_as_published", "losses.rank.statistics=null")
    torch.testing.assert_close(found, running, rtol=0, atol=1e-5)


def test_what_a_served_ranker_normalises_by_is_not_for_the_training_to_say() -> None:
    rankers = "losses.rank.rankers=[{spec: 'unix:///run/ranker.sock/ranker'}]"
    with pytest.raises(InvalidConfig, match=r"is said where it is served \(FILE\?statistics=batch"):
        open_rankers(load_recipe("ranksrgan_as_published", [rankers]))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("niqe?gradient=true", "niqe has no option statistics"),
        ("a.safetensors?head=ma+0.4*b.safetensors", "each term says it for itself"),
    ],
)
def test_not_every_scorer_can_be_told_what_to_normalise_by(spec: str, why: str) -> None:
    rankers = f"losses.rank.rankers=[{{spec: '{spec}'}}]"
    with pytest.raises(InvalidConfig, match="set the key to null") as caught:
        open_rankers(load_recipe("ranksrgan_as_published", [rankers]))
    assert why in caught.value.message
    assert caught.value.field == "losses.rank.statistics"


def test_rankers_that_are_given_normalise_as_the_key_says(tmp_path: Path, toy_ranker) -> None:
    path = tmp_path / "ranker" / "ranker.safetensors"
    write_tiny_ranker(path, 0, higher_is_better=False)
    running, batch = (
        load_ranker(path, device="cpu", batch_statistics=by_batch) for by_batch in (False, True)
    )
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    by_itself = load_network(load_weights(path)).train()(images).flatten().detach()
    published = load_recipe("ranksrgan_as_published")
    ((chosen, weight),) = choose_rankers(published, [(batch, 0.5)])
    assert weight == 0.5
    torch.testing.assert_close(chosen.score(images).float(), by_itself, rtol=0, atol=1e-5)

    class Elsewhere:
        """A Ranker that is no network of this process, and says nothing of what it does."""

        info, score, gradient = running.info, running.score, running.gradient

    says_running = load_recipe("ranksrgan", ["losses.rank.statistics=running"])
    nobody = Connection("unix:///nobody.sock", timeout=1, retry_for=0)
    served = RemoteScorer(nobody, OpenedModel("ranker"), running.info)
    for config, ranker, why in (
        (published, running, "ranker normalises by running: open it with batch_statistics=True"),
        (says_running, batch, "ranker normalises by batch: open it with batch_statistics=False"),
        (published, toy_ranker(0), "toy0 does not say that it normalises so"),
        (published, Elsewhere(), "ranker does not say that it normalises so"),
        (says_running, Elsewhere(), "ranker does not say that it normalises so"),
        (says_running, served, "said where it is served"),
    ):
        with pytest.raises(InvalidConfig) as caught:
            choose_rankers(config, [(ranker, 1.0)])
        assert caught.value.field == "losses.rank.statistics"
        assert why in caught.value.message
        assert "to null" in caught.value.message
    for ranker in (running, toy_ranker(0)):  # an nn.Module is put into evaluation
        assert choose_rankers(says_running, [(ranker, 1.0)]) == [(ranker, 1.0)]
    for ranker in (running, batch, toy_ranker(0), Elsewhere()):
        assert choose_rankers(load_recipe("ranksrgan"), [(ranker, 1.0)]) == [(ranker, 1.0)]


def test_rankers_are_given_or_configured(tmp_path: Path, toy_ranker) -> None:
    """``config.yaml`` would name those that have judged nothing."""
    config = load_recipe("ranksrgan_niqe", ["data.hr=hr", "run.device=cpu"])
    spec = config.losses.rank.rankers[0].spec
    for given in ([(toy_ranker(0), 1.0)], []):
        with pytest.raises(InvalidConfig, match=r"set the key to \[\], or give none") as caught:
            train(config, tmp_path / "run", rankers=given)
        assert caught.value.field == "losses.rank.rankers"
        assert spec in caught.value.message
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in OTHER_RANKERS or name in OTHER_WEIGHTS
        else name
        for name in NAMES
    ],
)
def test_fifty_steps_lower_the_loss_and_leave_the_rankers_as_they_were(
    name: str,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small(name, tmp_path / "hr", shared_data)
    for seed, one in enumerate(config.losses.rank.rankers):
        write_tiny_ranker(Path(one.spec), seed, higher_is_better="_ma" in one.spec)
    opened: list[Ranker] = []
    for ranker, _ in open_rankers(config, torch.device("cpu")):
        assert isinstance(ranker, Ranker)
        by_batch = config.losses.rank.statistics == "batch"
        assert any("running" in key for key in ranker._network.state_dict()) != by_batch
        opened.append(ranker)
    states = [hash_tensors(ranker._network.state_dict()) for ranker in opened]

    rank = config.losses.rank.model_copy(update={"rankers": ()})
    config = config.model_copy(update={"losses": config.losses.model_copy(update={"rank": rank})})
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
