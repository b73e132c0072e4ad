"""What a model has to pass before it takes requests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.serving.loaded_models import open_named
from ranksrgan.contracts.serving.model_checks import warm_up
from ranksrgan.contracts.serving.observer import Observers
from tests.contracts.conftest import Contrast


class Distance(Contrast):
    """Compares, and has no slope where two images are equal."""

    info = replace(Contrast.info, name="distance", needs_reference=True, min_side=20)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        assert references is not None
        assert references.shape == images.shape
        self.shapes.append(tuple(images.shape))
        return (images - references).double().square().flatten(1).sum(dim=1).sqrt()


def test_a_scorer_that_compares_runs_with_a_reference() -> None:
    scorer = Distance()
    warm_up(scorer, (24, 32), "distance")
    assert scorer.shapes == [(1, 3, 24, 32)]


def test_no_image_is_smaller_than_the_scorer_takes() -> None:
    scorer = Distance()
    warm_up(scorer, (8, 32), "distance")
    assert scorer.shapes == [(1, 3, 20, 32)]


class Overflowing(Contrast):
    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        return torch.inf * super().score(images, references)


def test_named_models_run_once_before_they_serve() -> None:
    made = {"a": Distance(), "b": Distance()}
    specs = {"one": Path("a"), "two": Path("b")}
    opened = open_named(specs, lambda path, options: made[path], Observers())
    assert opened == {"one": made["a"], "two": made["b"]}
    assert [len(scorer.shapes) for scorer in made.values()] == [1, 1]
    with pytest.raises(InvalidCheckpoint, match="NaN or infinity") as caught:
        open_named({"one": Path("c")}, lambda path, options: Overflowing(), Observers())
    assert caught.value.field == "c"
