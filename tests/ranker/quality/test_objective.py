from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from scipy.stats import pearsonr, rankdata
from torch import Tensor, nn

from ranksrgan.ranker.loss_correlation import determination, rank_error, soft_ranks
from ranksrgan.ranker.quality.config import QualityConfig
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.objective import QualityLoss, objective, relative_distance
from tests.ranker.quality.distorted import agreement, distorted, teach

HUAWEI: list[QualityLoss] = ["bradley_terry", "plcc", "srocc"]


def of(loss: QualityLoss, scores: Tensor, values: Tensor) -> Tensor:
    # Half of the images show one content, half another.
    group = torch.arange(len(scores)) % 2
    return objective({loss: 1.0}, scores, values, group, scale=1.4)


@pytest.mark.parametrize("loss", HUAWEI)
def test_huawei_losses_are_0_for_perfect_scores(loss: QualityLoss) -> None:
    values = torch.tensor([-1.5, -0.4, 0.0, 0.3, 0.9, 1.2, 1.7, 2.5], dtype=torch.float64)
    perfect = values / 1.4  # odds are e to one at a gap of 1.4
    assert float(of(loss, perfect, values)) == pytest.approx(0, abs=1e-3)
    assert float(of(loss, -perfect, values)) > 0.05


class ThreeLayers(QualityModel):
    """A small network that is told image, reference and how far they are apart."""

    architecture = "three"
    losses: ClassVar = dict.fromkeys(HUAWEI, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(9, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, 2), nn.ReLU()),
            nn.Conv2d(16, 1, 3),
        )

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        apart = 4 * (images - references).abs()
        seen: Tensor = self.body(torch.cat([images - 0.5, references - 0.5, apart], 1))
        return seen.mean((1, 2, 3))


def test_huawei_losses_teach_three_layers_the_fixture() -> None:
    """From an SRCC below .3 to above .8 on references that it has not seen."""
    torch.manual_seed(2)
    model, unseen = ThreeLayers(), distorted(4, 2)
    assert agreement(model, unseen) < 0.3
    teach(model, distorted(24, 1), steps=300, rate=3e-3, batch=16)
    assert agreement(model, unseen) > 0.8


@pytest.mark.parametrize("loss", [*HUAWEI, "determination", "ranks", "regression", "smooth_l1"])
def test_losses_have_exact_gradients(loss: QualityLoss) -> None:
    values = torch.randn(8, dtype=torch.float64)
    scores = torch.randn(8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: of(loss, given, values), scores)


def test_huawei_pairs_cross_references() -> None:
    """Two images, each alone with its reference, still have an order."""
    values = torch.tensor([1.0, -1.0])
    good, bad = (of("bradley_terry", scores, values) for scores in (values, -values))
    assert float(good) < float(bad)


@pytest.mark.parametrize("loss", [*HUAWEI, "determination", "ranks"])
def test_constant_scores_have_a_finite_gradient(loss: QualityLoss) -> None:
    scores = torch.full((8,), 0.3, requires_grad=True)
    of(loss, scores, torch.randn(8)).backward()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())


def test_macs_pearson_loss_is_one_minus_its_square() -> None:
    scores, values = torch.randn(2, 20, dtype=torch.float64).unbind()
    group = torch.zeros(20, dtype=torch.int64)
    expected = 1 - pearsonr(scores, values).statistic ** 2
    assert float(determination(scores, values, group)) == pytest.approx(expected, abs=1e-5)
    assert float(determination(-scores, values, group)) == pytest.approx(expected, abs=1e-5)


def test_macs_soft_rank_is_exact_as_tau_goes_to_0() -> None:
    """Against scipy: within .2 on average at tau .05, within .001 at tau 1e-4."""
    samples = torch.randn(50, 16, dtype=torch.float64)

    def error(temperature: float) -> float:
        found = torch.stack([soft_ranks(sample, temperature) for sample in samples])
        return float((found - torch.from_numpy(rankdata(samples, axis=1))).abs().mean())

    assert error(0.05) < 0.2
    distinct = torch.randperm(16).double()
    exact = soft_ranks(distinct, 1e-4) - torch.from_numpy(rankdata(distinct))
    assert float(exact.abs().max()) < 1e-3


def test_macs_rank_loss_minds_neither_unit_nor_offset() -> None:
    scores, values = torch.randn(2, 12, dtype=torch.float64).unbind()
    group = torch.zeros(12, dtype=torch.int64)
    loss = rank_error(scores, values, group)
    moved = rank_error(40 * scores + 3, 0.1 * values - 5, group)
    assert float(moved) == pytest.approx(float(loss), rel=1e-3)
    assert float(rank_error(1e4 * values, values, group)) < 0.5
    assert float(rank_error(values, values, group, lambda given: torch.zeros(12))) == pytest.approx(
        float((torch.arange(1, 13) ** 2).float().mean())
    )


def test_relative_distance_minds_no_constant() -> None:
    scores, values = torch.randn(2, 9, dtype=torch.float64).unbind()
    loss = float(relative_distance(scores, values))
    assert float(relative_distance(scores + 5, values)) == pytest.approx(loss)
    assert float(relative_distance(values + 2, values)) == pytest.approx(0, abs=1e-12)
    by_hand = [
        abs((values[i] - values[j]) - (scores[i] - scores[j]))
        for i in range(9)
        for j in range(i + 1, 9)
    ]
    assert loss == pytest.approx(float(sum(by_hand) / len(by_hand)))


def test_an_objective_is_the_weighted_sum() -> None:
    scores, values = torch.randn(2, 8).unbind()
    both = objective(
        {"regression": 2.0, "l1": 0.5, "plcc": 0.0},
        scores,
        values,
        torch.zeros(8, dtype=torch.int64),
        scale=1.0,
    )
    expected = 2 * (scores - values).square().mean() + 0.5 * (scores - values).abs().mean()
    assert float(both) == pytest.approx(float(expected), rel=1e-6)


def test_the_order_of_the_losses_changes_no_bit() -> None:
    losses: dict[QualityLoss, float] = {"l1": 0.3, "plcc": 1.0, "srocc": 0.7, "ranks": 0.1}
    gradients = []
    for given in (losses, dict(reversed(losses.items()))):
        draw = torch.Generator().manual_seed(0)
        scores = torch.randn(8, generator=draw).requires_grad_()
        objective(
            given, scores, torch.randn(8, generator=draw), torch.arange(8) % 2, scale=1.4
        ).backward()
        gradients.append(scores.grad)
        assert list(QualityConfig(model="iqt", losses=given).losses) == list(losses)
    assert torch.equal(*gradients)
