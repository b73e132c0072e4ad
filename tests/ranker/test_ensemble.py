from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import DifferentiableScorer, open_scorer
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog, RankerEnsemble, open_ensemble
from ranksrgan.ranker.heads import Head, ScoreScale, heads_about

SCALES = (ScoreScale(-3.0, 0.5), ScoreScale(2.0, 4.0), ScoreScale(0.1, 1.5))


def member(seed: int, scale: ScoreScale | None = None, *, higher_is_better: bool = False) -> Ranker:
    return Ranker(
        VGG12(4, torch.Generator().manual_seed(seed)).eval(),
        higher_is_better=higher_is_better,
        scale=scale,
        parameters_hash=f"hash{seed}",
        device="cpu",
    )


@pytest.fixture
def members() -> list[Ranker]:
    return [member(seed, scale) for seed, scale in enumerate(SCALES)]


def test_score_and_spread_are_those_of_the_standardised_scores(
    members: list[Ranker], images: Tensor
) -> None:
    ensemble = RankerEnsemble(members)
    rows = [
        (ranker.score(images).numpy() - mean) / std
        for ranker, (mean, std) in zip(members, SCALES, strict=True)
    ]
    scores, spread = ensemble.score_with_spread(images)
    np.testing.assert_allclose(scores, np.mean(rows, axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread, np.std(rows, axis=0, ddof=1), rtol=1e-12)
    assert torch.equal(ensemble.score(images), scores)
    assert scores.dtype == spread.dtype == torch.float64


def test_unit_and_offset_of_a_member_have_no_say(images: Tensor) -> None:
    """The same Ranker twice, the second trained to ten times the unit and another offset."""
    one = VGG12(4, torch.Generator().manual_seed(0)).eval()
    other = VGG12(4, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        last = other.classifier[2]
        last.weight *= 10
        last.bias.mul_(10).add_(7)
    pair = [
        Ranker(one, higher_is_better=False, scale=ScoreScale(0.2, 0.7), device="cpu"),
        Ranker(other, higher_is_better=False, scale=ScoreScale(2 + 7, 7.0), device="cpu"),
    ]
    scores, spread = RankerEnsemble(pair).score_with_spread(images)
    torch.testing.assert_close(scores, (pair[0].score(images) - 0.2) / 0.7, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(spread, torch.zeros_like(spread), rtol=0, atol=1e-5)
    plain = [Ranker(n, higher_is_better=False, device="cpu") for n in (one, other)]
    assert RankerEnsemble(plain).score_with_spread(images)[1].min() > 1


def test_plain_mean_where_no_member_knows_its_scale(images: Tensor) -> None:
    pair = [member(0), member(1)]
    scores, spread = RankerEnsemble(pair).score_with_spread(images)
    a, b = (ranker.score(images) for ranker in pair)
    torch.testing.assert_close(scores, (a + b) / 2)
    torch.testing.assert_close(spread, (a - b).abs() / 2**0.5)


def test_gradient(members: list[Ranker], images: Tensor) -> None:
    ensemble = RankerEnsemble(members)
    assert isinstance(ensemble, DifferentiableScorer)
    scores, gradients = ensemble.gradient(images)
    assert torch.equal(scores, ensemble.score(images))
    assert gradients.dtype == images.dtype
    leaves = images.clone().requires_grad_()
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (weights * ensemble.score(leaves)).sum().backward()
    assert leaves.grad is not None
    torch.testing.assert_close(
        leaves.grad, weights.float().view(-1, 1, 1, 1) * gradients, rtol=1e-4, atol=1e-6
    )
    expected = torch.stack(
        [ranker.gradient(images)[1] / std for ranker, (_, std) in zip(members, SCALES, strict=True)]
    ).mean(0)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-7)
    with torch.inference_mode():
        assert torch.equal(ensemble.gradient(images)[1], gradients)
    assert not ensemble.score_with_spread(leaves)[0].requires_grad


def test_info(members: list[Ranker]) -> None:
    info = RankerEnsemble(members, name="three").info
    assert (info.name, info.version) == ("three", "1+1+1+1")
    assert info.differentiable
    assert not info.needs_reference
    assert not info.higher_is_better
    assert info.min_side == 32
    assert RankerEnsemble([member(0, None, higher_is_better=True)] * 2).info.higher_is_better


def test_hash_changes_with_members_and_scales(members: list[Ranker]) -> None:
    hashes = [
        RankerEnsemble(chosen).info.parameters_hash
        for chosen in (
            members,
            members[:2],
            [member(0), member(1)],
            [members[0], member(1, SCALES[2])],
        )
    ]
    assert len(set(hashes)) == 4
    assert hashes[0] == RankerEnsemble(members).info.parameters_hash
    nameless = Ranker(VGG12(4), higher_is_better=False, device="cpu")
    assert RankerEnsemble([nameless, member(1)]).info.parameters_hash == ""


def test_members_that_do_not_belong_together(members: list[Ranker], images: Tensor) -> None:
    with pytest.raises(InvalidInput, match="two Rankers or more, not 1"):
        RankerEnsemble(members[:1])
    better = member(3, SCALES[0], higher_is_better=True)
    with pytest.raises(InvalidInput, match="better is lower for member 1, higher for member 2"):
        RankerEnsemble([members[0], better])
    with pytest.raises(InvalidInput, match=r"member 2 of the ensemble \(ranker\) does not know"):
        RankerEnsemble([members[0], member(1), members[2]])
    with pytest.raises(InvalidInput, match="psnr is no Ranker: it wants references"):
        RankerEnsemble([members[0], open_scorer("psnr")])
    with pytest.raises(InvalidInput, match="pi is no Ranker: it has no gradient"):
        RankerEnsemble([members[0], open_scorer("pi")])
    ensemble = RankerEnsemble(members)
    with pytest.raises(ImageTooSmall):
        ensemble.score(images[..., :31])
    with pytest.raises(InvalidInput, match="references"):
        ensemble.score(images, images)
    with pytest.raises(InvalidInput, match="uint8"):
        ensemble.gradient(images.mul(255).to(torch.uint8))


def test_catalog_serves_ensembles(members: list[Ranker], images: Tensor) -> None:
    ensemble = RankerEnsemble(members)
    catalog = RankerCatalog({"one": members[0], "all": ensemble})
    assert [info.name for info in catalog.infos()] == ["one", "all"]
    assert torch.equal(catalog.open("all").score(images), ensemble.score(images))
    assert ensemble.info.name == "ensemble"


def test_open_ensemble(tmp_path: Path, images: Tensor) -> None:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        network = VGG12(4, torch.Generator().manual_seed(seed), heads=2)
        heads = [Head("niqe", False), Head("ma", True, SCALES[seed])]
        save_weights(
            path,
            network.state_dict(),
            kind="ranker",
            architecture="vgg12",
            options=network.options,
            about=heads_about(heads),
        )
    members = ",".join(map(str, paths))
    opened = open_ensemble("ensemble", {"members": members, "head": "ma", "device": "cpu"})
    alone = [open_scorer(f"{path}?head=ma&device=cpu") for path in paths]
    assert torch.equal(opened.score(images), RankerEnsemble(alone).score(images))
    assert opened.info.higher_is_better
    with pytest.raises(InvalidInput, match="two Rankers or more"):
        open_ensemble("ensemble", {"members": str(paths[0])})
    with pytest.raises(InvalidInput, match=r"members=a\.safetensors,b\.safetensors"):
        open_ensemble("ensemble", {"device": "cpu"})
    with pytest.raises(InvalidInput, match="unknown option border"):
        open_ensemble("ensemble", {"members": members, "border": "4"})
