"""The one loss adapter in a training: one step by a scorer improves the score its way.

`RankLoss` refuses whoever wants the original; `ScorerLoss` takes any scorer with a gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import DifferentiableScorer
from ranksrgan.ranker import VGG12
from ranksrgan.ranker.quality.models import make_model
from ranksrgan.srgan import train
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data.crops import open_crops
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.losses import RankLoss, ScorerLoss
from ranksrgan.srgan.training.state import Training

MakeConfig = Callable[..., TrainConfig]

SMALL_QUALITY: dict[str, dict[str, Any]] = {
    "pieapp": {"backbone": "alexnet_blur", "backbone_width": 4, "hidden": 8},
    "wresnet": {"width": 2},
}


def a_ranker(folder: Path, *, higher_is_better: bool) -> str:
    torch.manual_seed(2)
    network = VGG12(4)
    save_weights(
        folder / "ranker.safetensors",
        network.state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 4},
        about={"higher_is_better": higher_is_better},
    )
    return f"{folder}/ranker.safetensors"


def a_quality_model(folder: Path, name: str) -> str:
    torch.manual_seed(2)
    model = make_model(name, SMALL_QUALITY[name])
    path = folder / f"{name}.safetensors"
    save_weights(path, model.state_dict(), kind="ranker", architecture=name, options=model.options)
    return str(path)


def before_and_after(chosen: TrainConfig, folder: Path, spec: str) -> tuple[float, float]:
    """The score of the first batch by the generator before and after its step."""
    batch = open_crops(chosen).batch(1)
    lr, hr = batch.lr / 255, batch.hr / 255
    scorer = open_scorer(spec)

    def score(generator: Generator) -> float:
        with torch.no_grad():
            shown = generator(lr).float().clamp(0, 1)
        return float(scorer.score(shown, hr if scorer.info.needs_reference else None).mean())

    was = score(Training.start(chosen, torch.device("cpu")).generator)
    return was, score(load_generator(train(chosen, folder / "run").generator))


@pytest.mark.parametrize(
    ("kind", "higher_is_better"),
    [
        ("lpips", False),
        ("ranker", False),
        ("ranker", True),
        ("pieapp", False),
        ("wresnet", True),
    ],
)
def test_one_step_of_a_training_moves_sr_towards_better(
    config: MakeConfig,
    tmp_path: Path,
    random_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    higher_is_better: bool,
) -> None:
    """LPIPS, a Ranker's file and a quality model's, each alone in ``losses.scorers``."""
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    if kind == "ranker":
        spec = a_ranker(tmp_path, higher_is_better=higher_is_better)
    else:
        spec = kind if kind == "lpips" else a_quality_model(tmp_path, kind)
    chosen = config(
        losses={"scorers": [{"spec": spec}]},
        data={"crop": 64, "batch": 2},
        optimiser={"generator_lr": 1e-4},
        run={"steps": 1},
    )
    assert open_scorer(spec).info.higher_is_better == higher_is_better
    was, now = before_and_after(chosen, tmp_path, spec)
    assert (now > was) if higher_is_better else (now < was)


def test_the_rank_loss_refuses_who_wants_the_original_and_the_scorer_loss_gives_it(
    random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))
    lpips = cast(DifferentiableScorer, open_scorer("lpips"))
    with pytest.raises(InvalidConfig, match="lpips cannot be a rank loss: it wants references"):
        RankLoss([(lpips, 1.0)])
    torch.manual_seed(0)
    hr = torch.rand(1, 3, 64, 64)
    sr = (hr + 0.2 * torch.randn(1, 3, 64, 64)).clamp(0.1, 0.9).requires_grad_()
    losses = []
    for _ in range(2):
        loss = ScorerLoss(lpips)(sr, hr)
        (gradient,) = torch.autograd.grad(loss, sr)
        losses.append(loss.item())
        sr = (sr - 0.05 * gradient / gradient.norm()).detach().requires_grad_()
    losses.append(ScorerLoss(lpips)(sr, hr).item())
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
