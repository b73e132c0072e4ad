from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import load_weights, save_weights
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidConfig,
    InvalidInput,
    UndefinedScore,
    UnknownName,
)
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer
from ranksrgan.metrics.correlation import srocc
from ranksrgan.ranker.quality.fusion import Fusion, fit_fusion, metric_features, open_metrics
from tests.ranker.quality.distorted import Distorted, distorted

METRICS = ("psnr", "ssim", "gmsd", "fsim", "vifp", "rmse")


@pytest.fixture(scope="module")
def seen() -> Distorted:
    return distorted(6, 1)


@pytest.fixture(scope="module")
def features(seen: Distorted) -> Tensor:
    return metric_features(open_metrics(METRICS), seen.images, seen.references)


def fit(seen: Distorted, features: Tensor, seed: int = 0, trees: int = 40) -> Fusion:
    return fit_fusion(
        features, seen.opinions, seen.groups, metrics=METRICS, folds=3, trees=trees, seed=seed
    )


def test_fusion_beats_the_best_single_metric(seen: Distorted, features: Tensor) -> None:
    unseen = distorted(3, 2)
    single = metric_features(open_metrics(METRICS), unseen.images, unseen.references)
    best = max(abs(srocc(column, unseen.opinions)) for column in single.T.contiguous())
    fused = fit(seen, features).score(unseen.images, unseen.references)
    assert srocc(fused, unseen.opinions) >= best + 0.03


def test_fusion_is_deterministic_by_seed(seen: Distorted, features: Tensor) -> None:
    one, same, other = (
        fit(seen, features, seed, trees=5).info.parameters_hash for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


def test_fusion_opens_from_its_file(seen: Distorted, features: Tensor, tmp_path: Path) -> None:
    fusion = fit(seen, features, trees=5)
    fusion.save(tmp_path / "fusion.safetensors", {"note": "of a test"})
    opened = open_scorer(str(tmp_path / "fusion.safetensors"))
    pair = seen.images[:2], seen.references[:2]
    assert torch.equal(opened.score(*pair), fusion.score(*pair))
    assert opened.info == fusion.info
    assert isinstance(opened, Scorer)
    assert not opened.info.differentiable
    assert not isinstance(opened, DifferentiableScorer)
    assert opened.info.higher_is_better
    assert opened.info.needs_reference
    with pytest.raises(InvalidInput, match="no option device"):
        open_scorer(f"{tmp_path / 'fusion.safetensors'}?device=cpu")
    renamed = fusion.named("votes", "3")
    assert (renamed.info.name, renamed.info.model_version) == ("votes", "3")
    assert torch.equal(renamed.score(*pair), fusion.score(*pair))


def test_a_score_does_not_hang_on_the_batch(seen: Distorted, features: Tensor) -> None:
    fusion = fit(seen, features, trees=5)
    alone = torch.cat(
        [fusion.score(seen.images[i : i + 1], seen.references[i : i + 1]) for i in (0, 1)]
    )
    assert torch.equal(fusion.score(seen.images[:2], seen.references[:2]), alone)


def test_unsound_files(seen: Distorted, features: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "fusion.safetensors"
    fit(seen, features, trees=5).save(path)
    weights = load_weights(path)
    for options, message in (
        ({}, "options are metrics"),
        ({"metrics": list(METRICS), "members": 4}, r"member3\.roots is missing"),
        ({"metrics": ["psnr"], "members": 3}, "features from 0 to 0"),
        ({"metrics": list(METRICS), "members": 2}, "it has unknown member2"),
        ({"metrics": ["bogus"] * 6, "members": 3}, "bogus"),
    ):
        save_weights(path, weights.tensors, kind="ranker", architecture="fusion", options=options)
        with pytest.raises(InvalidCheckpoint, match=message):
            open_scorer(str(path))


def test_bad_input(seen: Distorted, features: Tensor) -> None:
    fusion = fit(seen, features, trees=2)
    with pytest.raises(InvalidInput, match="references are missing"):
        fusion.score(seen.images[:1])
    with pytest.raises(InvalidInput, match="same size"):
        fusion.score(seen.images[:1], seen.references[:1, :, 1:])
    with pytest.raises(UndefinedScore, match="psnr of image 0 is inf"):
        fusion.score(seen.images[:1], seen.images[:1])
    with pytest.raises(UnknownName):
        open_metrics(["bogus"])
    with pytest.raises(InvalidInput, match="1 to 32 metrics, not 0"):
        open_metrics([])
    with pytest.raises(InvalidConfig, match="folds"):
        fit_fusion(features, seen.opinions, seen.groups, metrics=METRICS, folds=1)
    with pytest.raises(InvalidConfig, match="rate is 0"):
        fit_fusion(features, seen.opinions, seen.groups, metrics=METRICS, rate=0)
    for seed in (-1, 2**32):
        with pytest.raises(InvalidConfig, match=f"seed is {seed}; 0 to"):
            fit(seen, features, seed)
    fit(seen, features, 2**32 - 1, trees=1)  # the second regressor's is 0
    with pytest.raises(InvalidInput, match="6 inputs does not fit 2 metrics"):
        fit_fusion(features, seen.opinions, seen.groups, metrics=METRICS[:2], trees=1)
