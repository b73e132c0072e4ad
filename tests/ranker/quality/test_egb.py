from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UndefinedScore
from ranksrgan.metrics.correlation import srocc
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.egb import Egb, deep_features, fit_egb, inputs_of
from tests.ranker.quality.distorted import Distorted, distorted

SIDE = 48


@pytest.fixture(scope="module")
def seen() -> Distorted:
    return distorted(8, 1)


def backbone() -> Backbone:
    torch.manual_seed(0)
    return Backbone("plain", 8)


@pytest.fixture(scope="module")
def features(seen: Distorted) -> Tensor:
    return deep_features(backbone(), seen.images, seen.references, SIDE)


def fit(seen: Distorted, features: Tensor, seed: int = 0, trees: float = 0.05) -> Egb:
    return fit_egb(
        backbone(), features, seen.opinions, side=SIDE, trees=trees, seed=seed, device="cpu"
    )


def test_egb_learns_the_fixture(seen: Distorted, features: Tensor) -> None:
    """Even of random filters that nobody trained."""
    unseen = distorted(4, 2)
    scores = fit(seen, features, trees=0.3).score(unseen.images, unseen.references)
    assert srocc(scores, unseen.opinions) > 0.6


def test_egb_is_deterministic_by_seed(seen: Distorted, features: Tensor) -> None:
    one, same, other = (fit(seen, features, seed).info.parameters_hash for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_published_backbone_has_1536_features() -> None:
    with torch.device("meta"):
        assert inputs_of(Backbone("vgg16_deep")) == 1536


def test_features_are_differences_of_means() -> None:
    eye = backbone()
    image, reference = torch.rand(2, 1, 3, SIDE, SIDE)
    found = deep_features(eye, image, reference, SIDE)
    maps = zip(eye(image)[-3:], eye(reference)[-3:], strict=True)
    wanted = torch.cat([(a.mean((2, 3)) - b.mean((2, 3))).abs() for a, b in maps], 1)
    assert torch.allclose(found.float(), wanted, atol=1e-6)
    assert not found.requires_grad
    assert not deep_features(eye, image, image, SIDE).any()


def test_egb_opens_from_its_file(seen: Distorted, features: Tensor, tmp_path: Path) -> None:
    egb = fit(seen, features)
    egb.save(tmp_path / "egb.safetensors")
    opened = open_scorer(f"{tmp_path / 'egb.safetensors'}?device=cpu")
    pair = seen.images[:2], seen.references[:2]
    assert torch.equal(opened.score(*pair), egb.score(*pair))
    assert torch.equal(opened.score(pair[0][:1], pair[1][:1]), egb.score(*pair)[:1])
    assert opened.info == egb.info
    assert egb.named("other", "2").info.model_version == "2"
    with pytest.raises(InvalidInput, match="no option head"):
        open_scorer(f"{tmp_path / 'egb.safetensors'}?head=ma")


def test_unsound_files(seen: Distorted, features: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "egb.safetensors"
    fit(seen, features).save(path)
    weights = load_weights(path)
    good = weights.options
    for options, message in (
        ({}, "options are backbone"),
        ({**good, "backbone": "bogus"}, "no backbone 'bogus'"),
        ({**good, "backbone_width": 4000}, "should be"),
        ({**good, "side": 10**6}, "scaled to a side"),
    ):
        save_weights(path, weights.tensors, kind="ranker", architecture="egb", options=options)
        with pytest.raises(InvalidCheckpoint, match=message):
            open_scorer(str(path))
    foreign = {**weights.tensors, "head.weight": torch.ones(2)}
    save_weights(path, foreign, kind="ranker", architecture="egb", options=good)
    with pytest.raises(InvalidCheckpoint, match=r"egb\.safetensors: it has unknown head\.weight"):
        open_scorer(str(path))


def test_bad_input(seen: Distorted, features: Tensor) -> None:
    egb = fit(seen, features)
    image = seen.images[:1]
    with pytest.raises(InvalidInput, match="needs references"):
        egb.score(image)
    with pytest.raises(InvalidInput, match="same size"):
        egb.score(image, image[..., 1:])
    with pytest.raises(InvalidInput, match=r"\[0, 1\]"):
        egb.score(image * 255, image)
    with pytest.raises(InvalidInput, match="3 regressors of 80 inputs"):
        Egb(backbone(), [])


def test_absurd_weights_give_no_score(seen: Distorted, features: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "egb.safetensors"
    fit(seen, features).save(path)
    weights = load_weights(path)

    def write(**changed: Tensor) -> None:
        save_weights(
            path,
            {**weights.tensors, **changed},
            kind="ranker",
            architecture="egb",
            options=weights.options,
        )

    write(**{"member1.split": torch.full_like(weights.tensors["member1.split"], -1e308)})
    with pytest.raises(InvalidCheckpoint, match=r"member1: its values reach (\d|inf)"):
        open_scorer(f"{path}?device=cpu")
    first = next(
        key for key, value in weights.tensors.items() if key[:9] == "backbone." and value.ndim == 4
    )
    write(**{first: torch.full_like(weights.tensors[first], 3e38)})
    with pytest.raises(UndefinedScore, match="plain makes features of image 0 that are not finite"):
        open_scorer(f"{path}?device=cpu").score(seen.images[:2], seen.references[:2])
