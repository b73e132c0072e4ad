from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ranksrgan.contracts.pairs import PairSource, RankedContent
from ranksrgan.ranker.quality.config import QualityConfig, load_quality_recipe

sys.path.insert(0, str(Path(__file__).parent))

from graded import graded

#: A training of each model that takes a second. ResNets are 8 wide at least: on processors with
#: AVX2 alone, oneDNN's gradient of a strided 1 x 1 convolution of fewer channels writes beyond its
#: memory (torch 2.13).
TINY: Mapping[str, str] = {
    "wresnet": "{width: 2, patches: 1}",
    "radn": "{width: 2, patches: 1}",
    "sensitivity": "{width: 2}",
    "macs": "{form: attention, width: 8, grid: 4}",
    "iqma": "{backbone: plain, backbone_width: 4, width: 4, head_width: 4}",
    "iqt": "{backbone: plain, backbone_width: 4, crop: 32, width: 8, heads: 2, hidden: 8, "
    "head_width: 8}",
    "l2pips": "{backbone: resnet18, backbone_width: 8, width: 4, head_width: 8}",
    "pieapp": "{backbone: alexnet_blur, backbone_width: 2, hidden: 4, patches: 1}",
    "yahaha": "{backbone: resnet18, backbone_width: 8, grid: 2, width: 8, layers: 1, heads: 2}",
}


@pytest.fixture(scope="session")
def graded_contents() -> list[RankedContent]:
    return graded(6, seed=0)


@pytest.fixture(scope="session")
def unseen_contents() -> list[RankedContent]:
    return graded(3, seed=1)


@pytest.fixture
def learn(source_of: Callable[..., PairSource], graded_contents: list[RankedContent]) -> PairSource:
    return source_of(graded_contents)


@pytest.fixture
def judge(source_of: Callable[..., PairSource], unseen_contents: list[RankedContent]) -> PairSource:
    return source_of(unseen_contents)


@pytest.fixture
def tiny() -> Callable[..., QualityConfig]:
    def make(model: str, *overrides: str) -> QualityConfig:
        own = [f"options={TINY[model]}", "references=2", "versions=3", "steps=4", "save_every=2"]
        every = ["validate_every=2", "log_every=2", "crop=64", "device=cpu", "lr=1e-3"]
        return load_quality_recipe(model, None, [*own, *every, *overrides])

    return make
