from __future__ import annotations

from itertools import permutations
from typing import get_args

import pytest
import torch
import yaml
from google.protobuf import struct_pb2

from ranksrgan.contracts.config import dump_yaml, load_config, make_config, recipe_names
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.contracts.operations.servicer import config_from_proto
from ranksrgan.ranker import TrainConfig, loss, loss_correlation
from ranksrgan.ranker.config import RECIPES, LossName, load_recipe
from ranksrgan.ranker.objective import objective

GROUP = torch.tensor([0, 0, 0, 1, 1, 1])


def batch(heads: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    scores = 8 * torch.randn(6, heads, generator=draw)
    return scores, torch.rand(6, heads, generator=draw).double() * 5


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_name_is_the_loss_of_that_name(name: LossName) -> None:
    scores, values = batch()
    config = TrainConfig(
        losses={"margin": 1.0, name: 0.5}, margin=0.7, min_gap=0.4, scale=3.0, across=True
    )
    given = (scores[:, 0], values[:, 0], GROUP)
    margin = loss.margin_ranking(*given, 0.7, 0.4)
    terms = {
        "ranknet": loss.ranknet(*given, 0.4),
        "listwise": loss.listwise(*given),
        "bradley_terry": loss.bradley_terry(*given, 3.0, True),
        "regression": loss.regression(*given),
        "plcc": loss_correlation.plcc(*given),
        "srocc": loss_correlation.soft_srocc(*given),
        "magnitude": loss.magnitude(scores[:, 0]),
    }
    expected = margin / 2 if name == "margin" else margin + terms[name] / 2
    torch.testing.assert_close(objective(config, scores, values, GROUP), expected)


def test_heads_count_alike() -> None:
    scores, values = batch(heads=2)
    config = TrainConfig(further=("ma",))
    one = [objective(config, scores[:, h : h + 1], values[:, h : h + 1], GROUP) for h in (0, 1)]
    torch.testing.assert_close(objective(config, scores, values, GROUP), (one[0] + one[1]) / 2)


def test_as_published_is_the_published_loss() -> None:
    scores, values = batch()
    config = TrainConfig(as_published=True, losses={"margin": 1.0})
    expected = loss.margin_ranking_as_published(scores[:, 0], values[:, 0], GROUP, 0.5)
    torch.testing.assert_close(objective(config, scores, values, GROUP), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["losses={magnitude: 1}"], "nothing would be learnt"),
        (["losses={margin: 0}"], "nothing would be learnt"),
        (["losses={margni: 1}"], "losses.margni"),
        (["losses={margin: -1}"], "losses.margin"),
        (["sample=pairs", "losses={margin: 1, plcc: 1}"], "losses.plcc: pairs say an order"),
        (["further=[ma, niqe, ma]"], "further: ma is there twice"),
        (["versions=1"], "versions: one of a content has no order"),
        (["versions=2", "sample=pairs"], "versions: with sample=pairs a content has two"),
        (["versions=2", "as_published=true", "losses={margin: 1}"], "versions: with as_published"),
        (["min_gap=0.3", "sample=pairs"], r"min_gap: .* give it there, .*RANKS\?min_gap=0\.3"),
        (["min_gap=1", "as_published=true", "losses={margin: 1}"], "min_gap: with as_published"),
        (["sample=pairs", "further=[ma]"], "further: pairs say an order"),
        (["as_published=true"], "as_published: the released code has losses"),
        (["as_published=true", "losses={margin: 1}", "sample=pairs"], "draws its pairs from"),
    ],
)
def test_what_does_not_go_together(given: list[str], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_config(TrainConfig, overrides=given)


def test_recipes() -> None:
    assert load_recipe(None) == TrainConfig()
    default = TrainConfig().losses
    assert load_recipe(None, ["losses.plcc=1"]).losses == {**default, "plcc": 1.0}
    assert load_recipe("paper") == TrainConfig(losses={"margin": 1.0})
    published = load_recipe("as_published", ["width=8"])
    assert published.as_published
    assert (published.lr, published.steps, published.seed, published.width) == (
        1e-4,
        400_000,
        10,
        8,
    )
    small = load_recipe("small")
    assert (small.start, small.losses["plcc"]) == ("zero_mean", 1.0)
    with pytest.raises(UnknownName, match=r"tiny is .* recipe \(as_published, nss, paper, small\)"):
        load_recipe("tiny")


def test_warm_up_rises_to_the_step_size() -> None:
    config = TrainConfig(lr=1e-3, warm_up=4, halve_at=(6,))
    rates = [config.lr_at(step) for step in range(8)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3, 5e-4, 5e-4])


@pytest.mark.parametrize("names", list(permutations(["bradley_terry", "plcc", "magnitude"])))
def test_the_order_of_the_losses_changes_no_bit(names: tuple[LossName, ...]) -> None:
    small = load_recipe("small")
    config = make_config(TrainConfig, {"losses": {name: small.losses[name] for name in names}})
    assert list(config.losses) == list(small.losses) == ["bradley_terry", "plcc", "magnitude"]

    def gradient(losses: dict[LossName, float]) -> torch.Tensor:
        scores, values = batch()
        scores.requires_grad_()
        objective(small.model_copy(update={"losses": losses}), scores, values, GROUP).backward()
        assert scores.grad is not None
        return scores.grad

    # Not even where no model has put them in order.
    as_written = {name: small.losses[name] for name in names}
    assert torch.equal(gradient(as_written), gradient(small.losses))


def test_shipped_recipes_sum_their_losses_as_they_are_written() -> None:
    for name in recipe_names(RECIPES):
        written = yaml.safe_load((RECIPES / f"{name}.yaml").read_text()).get("losses", {})
        assert [key for key in load_recipe(name).losses if key in written] == list(written)


@pytest.mark.parametrize("name", recipe_names(RECIPES))
def test_a_request_is_resolved_as_the_recipe_whatever_the_order_of_its_keys(name: str) -> None:
    recipe = load_recipe(name)
    content = recipe.model_dump(mode="json", exclude_unset=True)
    content["losses"] = dict(reversed(recipe.losses.items()))
    request = struct_pb2.Struct()
    request.update(dict(reversed(content.items())))
    resolved = make_config(TrainConfig, config_from_proto(request))
    assert resolved == recipe
    assert dump_yaml(resolved) == dump_yaml(recipe)
