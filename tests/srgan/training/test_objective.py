"""Losses put together: scorers beside the others, and a relativistic step by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.objective import Objective
from ranksrgan.srgan.training.state import Training

MakeConfig = Callable[..., TrainConfig]


def test_scorers_are_terms_of_their_own_with_their_weights(config: MakeConfig, toy_ranker) -> None:
    chosen = config(losses={"pixel": {"weight": 0.5}})
    lower, higher = toy_ranker(1), toy_ranker(2, higher_is_better=True)
    objective = Objective(chosen, [], None, [(lower, 0.2), (higher, 0.3)])
    assert objective.names == ["pixel", "scorers.toy1", "scorers.toy2", "generator"]
    sr, hr = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    terms = objective.before_discriminator(sr, hr, False, 0)
    expected = {
        "pixel": (sr - hr).abs().mean().item(),
        "scorers.toy1": lower.network(sr).mean().item(),
        "scorers.toy2": -higher.network(sr).mean().item(),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
    total = 0.5 * expected["pixel"] + 0.2 * expected["scorers.toy1"]
    total += 0.3 * expected["scorers.toy2"]
    assert objective.total(terms).item() == pytest.approx(total, rel=1e-5)


def test_scorers_that_are_no_losses_are_refused(config: MakeConfig, toy_ranker) -> None:
    with pytest.raises(InvalidConfig, match="niqe cannot be a loss: it has no gradient") as refused:
        Objective(config(losses={"scorers": [{"spec": "niqe"}]}), [], None)
    assert refused.value.field == "losses.scorers"
    with pytest.raises(InvalidConfig, match="a scorer is named twice"):
        Objective(config(), [], None, [(toy_ranker(), 1.0), (toy_ranker(), 1.0)])


def test_lpips_alone_trains_a_generator(
    config: MakeConfig, tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    chosen = config(
        losses={"scorers": [{"spec": "lpips", "weight": 2.0}]},
        optimiser={"generator_lr": 5e-3},
        data={"crop": 32, "batch": 2},
        run={"steps": 20},
    )
    seen: list[float] = []
    train(chosen, tmp_path, on_step=lambda _, values: seen.append(values["generator"]))
    assert sum(seen[-5:]) < 0.9 * sum(seen[:5])


def test_a_relativistic_step_by_hand(gan: MakeConfig, tmp_path: Path) -> None:
    """Both updates from the losses' definitions and Adam's first step."""
    chosen = gan(
        run={"steps": 1},
        losses={"adversarial": {"weight": 0.01, "criterion": "relativistic"}},
        optimiser={"generator_lr": 1e-3, "discriminator_lr": 2e-3},
    )
    from ranksrgan.srgan.data.crops import open_crops

    start = Training.start(chosen, torch.device("cpu"))
    batch = open_crops(chosen).batch(1)
    lr, hr = batch.lr / 255, batch.hr / 255
    assert start.discriminator is not None
    sr = start.generator(lr)
    real, fake = start.discriminator(hr), start.discriminator(sr)
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    entropy = F.binary_cross_entropy_with_logits
    adversarial = entropy(fake - real.detach().mean(), ones)
    adversarial = (adversarial + entropy(real.detach() - fake.mean(), zeros)) / 2
    total = 0.1 * (sr - hr).abs().mean() + 0.01 * adversarial
    fake = start.discriminator(sr.detach())
    loss = (entropy(real - fake.mean(), ones) + entropy(fake - real.mean(), zeros)) / 2
    expected = {}
    networks = {"generator": (start.generator, total, 1e-3)}
    networks["discriminator"] = (start.discriminator, loss, 2e-3)
    for name, (network, value, rate) in networks.items():
        parameters = dict(network.named_parameters())
        gradients = torch.autograd.grad(value, list(parameters.values()), retain_graph=True)
        expected[name] = {
            key: parameter.detach() - rate * gradient / (gradient.abs() + 1e-8)
            for (key, parameter), gradient in zip(parameters.items(), gradients, strict=True)
        }

    seen: dict[str, float] = {}
    result = train(chosen, tmp_path, on_step=lambda _, values: seen.update(values))
    assert seen["adversarial"] == pytest.approx(adversarial.item(), rel=1e-5)
    assert seen["generator"] == pytest.approx(total.item(), rel=1e-5)
    assert seen["discriminator"] == pytest.approx(loss.item(), rel=1e-5)
    for name, path in (
        ("generator", result.generator),
        ("discriminator", result.discriminator),
    ):
        assert path is not None
        tensors = load_weights(path).tensors
        for key, wanted in expected[name].items():
            if wanted.ndim == 1:
                continue  # what shifts all outputs alike has next to no gradient here
            # Adam's first step is the sign of the gradient; only tiny ones may differ.
            close = (tensors[key] - wanted).abs() < 1e-5
            assert close.float().mean() > 0.95, f"{name}.{key}"
