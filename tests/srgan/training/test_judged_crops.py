"""Crops that what judges them does not take are told before a training has left anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts.errors import ImageTooSmall, InvalidConfig
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.judged_crops import check_judged, check_judged_here
from ranksrgan.srgan.training.train import train
from tests.srgan.conftest import ToyRanker

NIQE = "niqe?border=4&gradient=true"


def wanting(least: int) -> ToyRanker:
    ranker = ToyRanker()
    ranker.info = replace(ranker.info, min_side=least)
    return ranker


def test_a_ranker_that_is_too_large(config: Callable[..., TrainConfig], tmp_path: Path) -> None:
    wanted = config(losses={"rank": {"weight": 1.0, "jitter": 3}})
    with pytest.raises(InvalidConfig) as caught:
        train(wanted, tmp_path / "run", rankers=[(wanting(104), 1.0)])
    assert caught.value.field == "data.crop"
    assert caught.value.message == (
        "data.crop is 64 and losses.rank.jitter 3; toy0 takes 104 x 104 pixels and more: "
        "data.crop=108 would be enough for it"
    )
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_what_is_shown_is_the_crop_less_the_jitter(config: Callable[..., TrainConfig]) -> None:
    wanted = config(losses={"rank": {"weight": 1.0, "jitter": 3}})
    check_judged(wanted, [wanting(61)], [wanting(64)])
    for rankers, scorers in (([wanting(62)], []), ([], [wanting(65)])):
        with pytest.raises(InvalidConfig, match=r"^data\.crop is 64"):
            check_judged(wanted, rankers, scorers)
    check_judged(config(losses={"pixel": {"weight": 1.0}}), [wanting(62)], [])  # asked nothing


class _OfTwo(ToyRanker):
    """Takes batches of two and more, as a Ranker that normalises by its batch."""

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        if len(images) < 2:
            raise ImageTooSmall("a single value")
        assert images.is_floating_point()
        return super().score(images)


def test_a_scorer_is_tried_as_a_training_asks_it(config: Callable[..., TrainConfig]) -> None:
    ranker = _OfTwo()
    ranker.info = replace(ranker.info, min_side=40)
    sections: dict[str, Any] = {"losses": {"rank": {"weight": 1.0}}}
    check_judged(config(**sections), [ranker], [])
    with pytest.raises(InvalidConfig, match="toy0 takes"):
        check_judged(config(**sections, data={"batch": 1}), [ranker], [])


def test_the_smallest_side_need_not_be_enough(config: Callable[..., TrainConfig]) -> None:
    losses: dict[str, Any] = {"pixel": {"weight": 1.0}, "scorers": [{"spec": NIQE, "weight": 0.1}]}
    with pytest.raises(InvalidConfig, match=r"data\.crop is 128; niqe.* takes 200 x 200 pixels"):
        check_judged_here(config(data={"crop": 128}, losses=losses))
    check_judged_here(config(data={"crop": 200}, losses=losses))


def test_a_sum_of_what_is_here_is_asked(config: Callable[..., TrainConfig]) -> None:
    scorers = [{"spec": f"{NIQE}+0.5*(niqe?border=0&gradient=true)", "weight": 0.1}]
    losses: dict[str, Any] = {"pixel": {"weight": 1.0}, "scorers": scorers}
    with pytest.raises(InvalidConfig, match=r"data\.crop is 128; niqe.* takes 200 x 200 pixels"):
        check_judged_here(config(data={"crop": 128}, losses=losses))


def test_services_and_sums_with_one_are_not_asked(config: Callable[..., TrainConfig]) -> None:
    specs = ["unix:/nowhere.sock/ranker", "niqe+(unix:/nowhere.sock/ranker)"]
    rankers = [{"spec": spec} for spec in specs]
    check_judged_here(config(losses={"rank": {"weight": 1.0, "rankers": rankers}}))
