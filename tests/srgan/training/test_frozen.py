"""Networks of one's own that a training asks: the same afterwards, whatever state they came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.metrics.fused import Fused
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.frozen import frozen

MakeConfig = Callable[..., TrainConfig]


class Features(nn.Module):
    """A `FeatureNetwork` with normalisation."""

    name = "mine"

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        return {"one": self.network(images)}


class Around:
    """A scorer that has a network and is none."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.info, self.score = network.info, network.score


def halfway(network: nn.Module) -> nn.Module:
    """In train(), with one part in eval() and one parameter that wants no gradient."""
    network.train().requires_grad_(True)
    network.network[0].eval()
    network.network[0].bias.requires_grad_(False)
    return network


def flags(network: nn.Module) -> list[bool]:
    modes = [module.training for module in network.modules()]
    return modes + [parameter.requires_grad for parameter in network.parameters()]


@pytest.mark.parametrize("error", [None, RuntimeError("in between")])
def test_networks_of_ones_own_are_the_same_after_a_training(
    gan: MakeConfig, hr_folder: Path, tmp_path: Path, toy_ranker, error: Exception | None
) -> None:
    ranker, judge, inner = (halfway(toy_ranker(seed)) for seed in range(3))
    features = halfway(Features())
    networks = [ranker, judge, inner, features]
    states = [{key: v.clone() for key, v in one.state_dict().items()} for one in networks]
    before = [flags(one) for one in networks]
    assert all(any(found) and not all(found) for found in before)
    seen: list[bool] = []

    def on_step(step: int, values: Mapping[str, float]) -> None:
        seen.extend(flag for one in networks for flag in flags(one))
        if step == 2 and error is not None:
            raise error

    def run() -> None:
        train(
            gan(
                losses={"rank": {"weight": 1.0}, "perceptual": {"weight": 1.0}},
                validation={"hr": str(hr_folder), "every": 2},
                run={"steps": 2},
            ),
            tmp_path,
            rankers=[(ranker, 1.0)],
            feature_network=features,
            validation_scorers={"judge": judge, "again": ranker, "inner": Around(inner)},
            on_step=on_step,
        )

    if error is None:
        run()
    else:
        with pytest.raises(RuntimeError, match="in between"):
            run()
    assert seen
    assert not any(seen)
    assert [flags(one) for one in networks] == before
    for one, state in zip(networks, states, strict=True):
        assert all(torch.equal(value, state[key]) for key, value in one.state_dict().items())
        assert all(parameter.grad is None for parameter in one.parameters())
    # Two steps, and two validations of four images for each of the scorer's names.
    assert [len(one.seen) for one in (ranker, judge, inner)] == [2 + 8 + 8, 8, 8]


def test_a_network_in_train_trains_as_one_in_eval_does(
    gan: MakeConfig, tmp_path: Path, toy_ranker
) -> None:
    chosen = gan(losses={"rank": {"weight": 1.0}})
    found: list[list[dict[str, float]]] = []
    for name, ranker in (("eval", toy_ranker(0)), ("train", halfway(toy_ranker(0)))):
        found.append([])
        train(
            chosen,
            tmp_path / name,
            rankers=[(ranker, 1.0)],
            on_step=lambda _, values: found[-1].append(dict(values)),
        )
    assert len(found[0]) == 4
    assert found[0] == found[1]


def test_networks_in_sums_and_lists_are_found(toy_ranker) -> None:
    one, two, three, four = (halfway(toy_ranker(seed)) for seed in range(4))
    several = Around(one)
    several.others = {"a": [(1.0, two)], "itself": several}
    total = Fused([(1.0, three), (2.0, Fused([(1.0, four), (1.0, one)]))])
    networks = [one, two, three, four]
    before = [flags(network) for network in networks]
    with frozen([several, total]):
        assert not any(flag for network in networks for flag in flags(network))
    assert [flags(network) for network in networks] == before


def test_a_network_that_torch_has_frozen_itself() -> None:
    """It has no ``training`` any more, and takes no requires_grad_()."""
    script = torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Conv2d(3, 1, 3)).eval()))
    image = torch.rand(1, 3, 8, 8)
    with frozen([script, None]):
        inside = script(image)
    assert torch.equal(inside, script(image))
