"""Trained quality models as scorers, here and behind a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidCheckpoint,
    InvalidInput,
)
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.ranker import RankerCatalog, RankerEnsemble
from ranksrgan.ranker.quality import scorer as scorer_module
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.egb import Egb, deep_features, fit_egb
from ranksrgan.ranker.quality.fusion import Fusion, fit_fusion, metric_features, open_metrics
from ranksrgan.ranker.quality.models import make_model
from ranksrgan.ranker.quality.scorer import QualityScorer
from ranksrgan.ranker.quality.sensitivity import Sensitivity
from tests.ranker.quality.distorted import distorted
from tests.ranker.quality.test_steering import SMALL

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    *sorted(SMALL.items()),
    ("macs", {"form": "tiled", "width": 8, "grid": 4}),
]


def scorer(name: str = "sensitivity", **options: Any) -> QualityScorer:
    return QualityScorer(make_model(name, options or {"width": 2}), device="cpu")


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_a_service_scores_and_differentiates_to_the_bit(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = tmp_path / f"{name}.safetensors"
    model = make_model(name, options)
    save_weights(path, model.state_dict(), kind="ranker", architecture=name, options=model.options)
    local = open_scorer(f"{path}?device=cpu")
    assert isinstance(local, QualityScorer)
    images, references = torch.rand(2, 2, 3, 66, 71).unbind()
    address = f"unix:{tmp_path}/socket"
    server = start_server(address, [ScoringServicer(RankerCatalog({"mine": local}))])
    try:
        remote = open_scorer(f"unix://{tmp_path}/socket/mine")
        assert isinstance(remote, DifferentiableScorer)
        assert remote.info == local.named("mine").info
        assert torch.equal(remote.score(images, references), local.score(images, references))
        for there, here in zip(
            remote.gradient(images, references), local.gradient(images, references), strict=True
        ):
            assert torch.equal(there, here)
        with pytest.raises(InvalidInput, match="references"):
            remote.score(images)
        with pytest.raises(InvalidInput, match="same size"):
            remote.score(images, references[..., :40])
    finally:
        server.stop()


def fitted(name: str) -> Egb | Fusion:
    """Trees of a second, after opinions on small images."""
    seen = distorted(3, 1)
    if name == "fusion":
        metrics = ("gmsd", "rmse")
        features = metric_features(open_metrics(metrics), seen.images, seen.references)
        return fit_fusion(
            features, seen.opinions, seen.groups, metrics=metrics, folds=3, trees=3, seed=0
        )
    backbone = Backbone("plain", 4)
    features = deep_features(backbone, seen.images, seen.references, 32)
    return fit_egb(backbone, features, seen.opinions, side=32, trees=0.03, seed=0, device="cpu")


@pytest.mark.parametrize("name", ["egb", "fusion"])
def test_a_service_scores_with_trees_to_the_bit(tmp_path: Path, name: str) -> None:
    local = fitted(name)
    images, references = torch.rand(2, 2, 3, 66, 71).unbind()
    server = start_server(
        f"unix:{tmp_path}/socket", [ScoringServicer(RankerCatalog({"mine": local}))]
    )
    try:
        remote = open_scorer(f"unix://{tmp_path}/socket/mine")
        assert remote.info == local.named("mine").info
        assert not remote.info.differentiable
        assert torch.equal(remote.score(images, references), local.score(images, references))
        with pytest.raises(InvalidInput, match="references"):
            remote.score(images)
    finally:
        server.stop()


def test_a_score_does_not_hang_on_the_batch() -> None:
    quality = scorer("wresnet", width=2)
    images, references = torch.rand(2, 3, 3, 40, 50).unbind()
    alone = torch.cat(
        [quality.score(*pair) for pair in zip(images.split(1), references.split(1), strict=True)]
    )
    assert torch.equal(quality.score(images, references), alone)
    assert quality.joining.joins == "exactly"


def test_grey_and_bytes_are_images_too() -> None:
    quality = scorer()
    images, references = torch.randint(256, (2, 2, 1, 20, 20), dtype=torch.uint8).unbind()
    colour = [(part.float() / 255).expand(-1, 3, -1, -1) for part in (images, references)]
    assert torch.equal(quality.score(images, references), quality.score(*colour))


@pytest.mark.parametrize(
    ("images", "references", "error", "field"),
    [
        (torch.rand(1, 3, 16, 16), None, InvalidInput, "references"),
        (torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 17), InvalidInput, "references"),
        (torch.rand(1, 3, 16, 16), torch.rand(2, 3, 16, 16), InvalidInput, "references"),
        (torch.rand(3, 16, 16), torch.rand(3, 16, 16), InvalidInput, "images"),
        (
            torch.zeros(1, 3, 16, 16, dtype=torch.int64),
            torch.rand(1, 3, 16, 16),
            InvalidInput,
            None,
        ),
        (torch.full((1, 3, 16, 16), 255.0), torch.rand(1, 3, 16, 16), InvalidInput, "images"),
        (torch.rand(1, 3, 16, 16), torch.full((1, 3, 16, 16), torch.nan), InvalidInput, None),
        (torch.rand(1, 3, 7, 16), torch.rand(1, 3, 7, 16), ImageTooSmall, "images"),
    ],
)
def test_bad_pairs(
    images: Tensor, references: Tensor | None, error: type[Exception], field: str | None
) -> None:
    with pytest.raises(error) as caught:
        scorer().score(images, references)
    assert field is None or caught.value.field == field  # type: ignore[attr-defined]


def test_an_image_may_be_as_large_as_the_memory_of_its_model_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quality, pair = scorer(), torch.rand(2, 1, 3, 16, 20)
    for does, pixel_bytes in (
        (quality.score, Sensitivity.memory.score),
        (quality.gradient, Sensitivity.memory.gradient),
    ):
        monkeypatch.setattr(scorer_module, "MEMORY", 16 * 20 * pixel_bytes)
        does(*pair)
        monkeypatch.setattr(scorer_module, "MEMORY", 16 * 20 * pixel_bytes - 1)
        with pytest.raises(ImageTooLarge, match=r"20 x 16 pixels.* at most 319") as caught:
            does(*pair)
        assert caught.value.field == "images"
    monkeypatch.undo()
    monkeypatch.setattr(scorer_module, "MAX_PIXELS", 319)
    with pytest.raises(ImageTooLarge, match="at most 319"):
        quality.score(*pair)


def test_a_score_that_carries_a_gradient_takes_no_larger_images_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quality, (images, references) = scorer(), torch.rand(2, 3, 3, 16, 20)
    monkeypatch.setattr(scorer_module, "MEMORY", 16 * 20 * Sensitivity.memory.gradient)
    scores, gradients = quality.gradient(images, references)
    leaves = images.clone().requires_grad_()
    quality.score(leaves, references).sum().backward()
    assert leaves.grad is not None
    assert torch.equal(leaves.grad, gradients)
    larger = torch.rand(1, 3, 16, 21)
    with pytest.raises(ImageTooLarge, match="21 x 16 pixels; this model has the gradient of at mo"):
        quality.score(larger.clone().requires_grad_(), larger)
    with torch.no_grad():
        assert torch.equal(quality.score(leaves, references), scores)
        quality.score(larger, larger)


def test_bad_files_and_options(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = make_model("sensitivity", {"width": 2})
    save_weights(
        path, model.state_dict(), kind="ranker", architecture="sensitivity", options={"width": 2}
    )
    with pytest.raises(InvalidInput, match="unknown option head; a quality model takes device"):
        open_scorer(f"{path}?head=ma")
    with pytest.raises(InvalidInput, match="precision=half"):
        open_scorer(f"{path}?precision=half")
    with pytest.raises(InvalidInput, match="wants references"):
        RankerEnsemble([open_scorer(f"{path}?device=cpu")] * 2)  # type: ignore[list-item]
    save_weights(path, model.state_dict(), kind="ranker", architecture="wresnet", options={})
    with pytest.raises(InvalidCheckpoint, match="does not fit WResNet"):
        open_scorer(str(path))
