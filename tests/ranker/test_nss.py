from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidCheckpoint, InvalidConfig, InvalidInput
from ranksrgan.metrics.niqe import niqe
from ranksrgan.metrics.niqe_model import NiqeModel
from ranksrgan.metrics.nss_features import nss_features
from ranksrgan.ranker import NSS, Ranker, load_ranker, load_recipe, train
from ranksrgan.ranker.heads import Head, heads_about
from ranksrgan.ranker.networks import Frozen, make_network
from tests.ranker.conftest import MemorySource, blurred


@pytest.fixture
def images() -> Tensor:
    """Three parts of a photograph, the last with a flat block."""
    photograph = torch.from_numpy(np.ascontiguousarray(skimage.data.astronaut())).permute(2, 0, 1)
    parts = torch.stack([photograph[:, y : y + 200, 100:300] for y in (0, 150, 300)])
    parts[2, :, :100, :100] = 128
    return parts / 255


def grown(heads: int = 1, border: int = 4) -> NSS:
    """A network with nothing left at 0."""
    random = torch.Generator().manual_seed(3)
    network = NSS(5, random, heads=heads, border=border)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    return network


def reference(network: NSS, image: Tensor, head: int = 0) -> float:
    """The score of one image as the module's head has it, in float64 and block by block."""
    state = {key: value.double() for key, value in network.state_dict().items()}
    rows = []
    for row in nss_features(image[None], network.border)[0]:
        x = (row.nan_to_num(nan=0.0) - state["centre"]) / state["spread"]
        hidden = F.leaky_relu(state["hidden.weight"] @ x + state["hidden.bias"], 0.2)
        bent = state["bend.weight"] @ hidden + state["bend.bias"]
        rows.append(state["linear.weight"] @ x + state["linear.bias"] + bent)
    f = torch.stack(rows)
    covariance = torch.cov(f.T) if len(f) > 1 else torch.zeros(36, 36, dtype=f.dtype)
    own = state["root"][head] @ state["root"][head].T + 1e-3 * torch.eye(36)
    away = f.mean(0) - state["natural"][head]
    square = away @ torch.linalg.inv((covariance + own) / 2) @ away
    return float(state["offset"][head] + state["gain"][head] * (square + 1e-6).sqrt())


@pytest.mark.parametrize("border", [0, 4])
def test_it_is_the_formula(images: Tensor, border: int) -> None:
    network = grown(2, border)
    network.standardise(network.statistics(images))
    scores = network(images)
    assert scores.shape == (3, 2)
    for k in range(3):
        for head in range(2):
            expected = reference(network, images[k], head)
            assert scores[k, head].item() == pytest.approx(expected, rel=1e-4)


def test_of_one_block(images: Tensor) -> None:
    network = grown()
    one = images[:1, :, :150, :120]
    assert network(one).item() == pytest.approx(reference(network, one[0]), rel=1e-4)


def test_niqe_is_one_of_these_networks(images: Tensor) -> None:
    """So a distance of exactly this form can be learnt: here its parameters are put in by hand."""
    model = NiqeModel.published()
    network = NSS(1, border=4).double()
    scale = model.covariance.diagonal().sqrt() / 100  # so that the ridge is nothing
    with torch.no_grad():
        network.linear.weight.copy_(torch.diag(1 / scale))
        network.natural[0] = model.mean / scale
        covariance = model.covariance / scale / scale[:, None]
        network.root[0] = torch.linalg.cholesky(covariance - 1e-3 * torch.eye(36))
    whole = images[:2]  # without a flat block, where NIQE leaves rows out
    torch.testing.assert_close(network(whole), niqe(whole, 4), rtol=1e-6, atol=0)


def test_standardised_statistics_have_unit_deviation(images: Tensor) -> None:
    network = NSS(4)
    statistics = network.statistics(images)
    network.standardise(statistics)
    rows = (statistics.flatten(0, 1) - network.centre) / network.spread
    torch.testing.assert_close(rows.mean(0), torch.zeros(36).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        rows.std(0, correction=0), torch.ones(36).double(), atol=1e-4, rtol=0
    )


def test_a_step_against_the_gradient_lowers_the_score(images: Tensor) -> None:
    network = grown()
    network.standardise(network.statistics(images))
    ranker = Ranker(network, higher_is_better=False, device="cpu")
    before, gradient = ranker.gradient(images[:2])
    assert bool(gradient.isfinite().all())
    sizes = gradient.flatten(1).norm(dim=1)[:, None, None, None]
    # Large enough to change levels (the score is of the image in 8 bits), yet small: in flat areas
    # a level or two is all the texture there is.
    after = ranker.score((images[:2] - 0.1 * gradient / sizes).clamp(0, 1))
    assert bool((after < before).all())


def test_one_head_and_its_file(images: Tensor, tmp_path: Path) -> None:
    network = grown(2)
    network.standardise(network.statistics(images))
    path = tmp_path / "ranker.safetensors"
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="nss",
        options=network.options,
        about=heads_about([Head("niqe?border=4", False), Head("ma", True)]),
    )
    second = open_scorer(f"{path}?head=ma&device=cpu")
    with torch.no_grad():
        expected = network(images)[:, 1].double()
    torch.testing.assert_close(second.score(images), expected, rtol=1e-6, atol=1e-6)
    assert (second.info.min_side, second.info.higher_is_better) == (104, True)
    assert second.info.differentiable
    with pytest.raises(ImageTooSmall, match="needs 104 x 104"):
        second.score(images[..., :103])
    for head in (-1, 2):
        with pytest.raises(InvalidInput, match=f"no head {head}"):
            network.of_head(head)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 5, "heads": 1}, "misses the option border"),
        ({"width": 5, "heads": 1, "border": "4"}, "whole numbers"),
        ({"width": 0, "heads": 1, "border": 4}, "width is 0"),
        ({"width": 5, "heads": 1, "border": 4, "depth": 3}, "option depth"),
        ({"width": 6, "heads": 1, "border": 4}, r"hidden.weight is \(5, 36\)"),
    ],
)
def test_files_that_are_wrong(options: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "ranker.safetensors"
    state = grown().state_dict()
    save_weights(path, state, kind="ranker", architecture="nss", options=options)
    with pytest.raises(InvalidCheckpoint, match=message):
        load_ranker(path)


def test_a_frozen_network_stays_as_it_is(images: Tensor) -> None:
    frozen = Frozen(grown())
    assert not frozen.train().training
    assert not frozen.network.training
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert torch.equal(frozen(images), frozen.network(images))


def test_it_learns_an_order_that_is_not_niqe(tmp_path: Path) -> None:
    """The width of a blur, of contents that it has not seen."""
    photographs = ("astronaut.png", "coffee.png", "rocket.jpg")
    learn = MemorySource([c for name in photographs for c in blurred(name, crops=16, side=208)])
    others = ("chelsea.png", "gravel.png")
    judge = MemorySource([c for name in others for c in blurred(name, crops=12, side=208)])
    settings = ["width=8", "steps=300", "halve_at=[200]", "batch=6", "validate_every=100"]
    result = train(load_recipe("nss", settings), learn, judge, tmp_path)
    assert result.evaluation is not None
    assert result.evaluation.srocc_per_content is not None
    assert result.evaluation.srocc_per_content > 0.85
    assert result.evaluation.srocc > 0.6


def test_impossible_networks() -> None:
    for field, settings in (
        ("width", {"width": 0}),
        ("heads", {"heads": 0}),
        ("border", {"border": -1}),
    ):
        with pytest.raises(InvalidInput, match=f"{field} is") as caught:
            NSS(**settings)  # type: ignore[arg-type]
        assert caught.value.field == field
    with pytest.raises(InvalidInput, match="vgg8, vgg12, vgg16, nss are there"):
        make_network("resnet", 4)


def test_settings_of_another_network_are_refused() -> None:
    assert load_recipe("nss").architecture == "nss"
    with pytest.raises(InvalidConfig, match="start: it says how a VGG starts"):
        load_recipe("nss", ["start=zero_mean"])
    with pytest.raises(InvalidConfig, match="as_published"):
        load_recipe("as_published", ["architecture=nss"])
