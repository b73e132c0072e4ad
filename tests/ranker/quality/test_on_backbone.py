from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.discovery import open_scorer
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.ranker.quality.backbones.backbone import Backbone
from ranksrgan.ranker.quality.config import QualityConfig
from ranksrgan.ranker.quality.models import load_model
from ranksrgan.ranker.quality.train import train_quality

MODELS = ("iqma", "iqt", "l2pips", "pieapp", "yahaha")


@pytest.mark.parametrize("model", MODELS)
def test_trained_model_opens_and_has_a_gradient(
    model: str,
    tiny: Callable[..., QualityConfig],
    learn: PairSource,
    judge: PairSource,
    tmp_path: Path,
) -> None:
    result = train_quality(tiny(model, "steps=2"), learn, judge, tmp_path)
    scorer = open_scorer(f"{result.weights}?device=cpu")
    assert isinstance(scorer, DifferentiableScorer)
    assert scorer.info.name == model
    assert scorer.info.higher_is_better == (model != "pieapp")
    assert scorer.info.needs_reference
    images, references = torch.rand(2, 2, 3, 66, 70)
    scores, gradients = scorer.gradient(images, references)
    assert bool((gradients.flatten(1).abs().sum(1) > 0).all())
    loaded = load_model(load_weights(result.weights)).eval()
    alone = [loaded(images[i : i + 1], references[i : i + 1]) for i in range(2)]
    assert torch.allclose(scores, torch.cat(alone).double(), atol=1e-5)
    assert torch.equal(
        scorer.score(images[1:], references[1:]), scorer.score(images, references)[1:]
    )
    with pytest.raises(InvalidInput, match="needs references"):
        scorer.score(images)
    with pytest.raises(InvalidInput, match="same size"):
        scorer.score(images, references[..., 1:])


def test_published_weights_stay_as_they_are_and_training_goes_on(
    tiny: Callable[..., QualityConfig], learn: PairSource, judge: PairSource, tmp_path: Path
) -> None:
    published = Backbone("plain", 4).network.state_dict()
    torch.save(published, tmp_path / "plain.pth")
    config = tiny("iqt", f"backbone={tmp_path / 'plain.pth'}", "steps=4")
    whole = train_quality(config, learn, judge, tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train_quality(config, learn, judge, tmp_path / "parts", on_step=stop)
    parts = train_quality(config, learn, judge, tmp_path / "parts")
    wanted, found = (load_weights(one.weights).tensors for one in (whole, parts))
    assert all(torch.equal(found[key], value) for key, value in wanted.items())
    for key, value in published.items():
        assert torch.equal(found[f"backbone.network.{key}"], value)


def test_random_start_is_said_once(
    tiny: Callable[..., QualityConfig],
    learn: PairSource,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        train_quality(tiny("iqma"), learn, None, tmp_path)
    said = [line for line in caplog.messages if "starts from random numbers" in line]
    assert len(said) == 1
    assert "--backbone-weights" in said[0]


def test_another_networks_weights_are_refused(
    tiny: Callable[..., QualityConfig], learn: PairSource, tmp_path: Path
) -> None:
    torch.save(Backbone("resnet18", 8).network.state_dict(), tmp_path / "resnet.pth")
    for model, error in (("iqma", InvalidCheckpoint), ("wresnet", InvalidInput)):
        config = tiny(model, f"backbone={tmp_path / 'resnet.pth'}")
        with pytest.raises(error):
            train_quality(config, learn, None, tmp_path / model)
