from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy.stats import pearsonr, rankdata, spearmanr
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.loss_correlation import plcc, soft_ranks, soft_srocc

Loss = Callable[..., Tensor]
LOSSES: list[Loss] = [plcc, soft_srocc]


def samples(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Correlated scores and values."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(n, dtype=torch.float64, generator=random)
    noise = torch.randn(n, dtype=torch.float64, generator=random)
    return values + noise, 3 * values + 7, torch.zeros(n, dtype=torch.int64)


@pytest.mark.parametrize("n", [2, 5, 16, 200])
def test_plcc_is_pearsons(n: int) -> None:
    scores, values, group = samples(n, n)
    expected = 1 - pearsonr(scores, values).statistic
    assert plcc(scores, values, group).item() == pytest.approx(expected, abs=1e-5)
    assert plcc(1000 * scores, values, group).item() == pytest.approx(expected, abs=1e-11)


def test_soft_ranks_are_as_exact_as_published() -> None:
    """Over 16 samples and tau .05: ranks off by .18 on average, Spearman's coefficient by .02."""
    errors, coefficients, sharp = [], [], []
    for seed in range(300):
        scores, values, group = samples(16, seed)
        true = torch.from_numpy(rankdata(scores))
        errors.append((soft_ranks(scores) - true).abs().mean())
        sharp.append((soft_ranks(scores, 1e-4) - true).abs().mean())
        spearman = spearmanr(scores, values).statistic
        coefficients.append(abs(1 - soft_srocc(scores, values, group).item() - spearman))
    assert torch.stack(errors).mean().item() == pytest.approx(0.18, abs=0.005)
    assert torch.stack(sharp).mean().item() < 1e-3
    assert sum(coefficients) / len(coefficients) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize("n", [2, 16, 101])
def test_soft_srocc_is_spearmans_as_tau_vanishes(n: int) -> None:
    scores, values, group = samples(n, n)
    expected = 1 - spearmanr(scores, values).statistic
    found = soft_srocc(scores, values, group, temperature=1e-6).item()
    assert found == pytest.approx(expected, abs=1e-7)


def test_tied_values_share_their_rank() -> None:
    values = torch.tensor([1.0, 1.0, 4.0, 4.0, 4.0, 2.0])
    group = torch.zeros(6, dtype=torch.int64)
    # Equal scores have equal soft ranks, so the order is reproduced to the end.
    assert soft_srocc(values, values, group, temperature=1e-3).item() == pytest.approx(0, abs=1e-6)
    moved = values.clone()
    moved[:2] += torch.tensor([0.1, -0.1])
    swapped = values.clone()
    swapped[:2] += torch.tensor([-0.1, 0.1])
    torch.testing.assert_close(soft_srocc(moved, values, group), soft_srocc(swapped, values, group))


@pytest.mark.parametrize("loss", LOSSES)
def test_range(loss: Loss) -> None:
    _, values, group = samples(64, 0)
    assert loss(values, values, group).item() == pytest.approx(0, abs=1e-3)
    assert loss(-values, values, group).item() == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_changes_nothing(loss: Loss) -> None:
    scores, values, group = samples(20, 3)
    expected = loss(scores, values, group)
    order = torch.randperm(20)
    close = torch.testing.assert_close
    close(loss(scores[order], values[order], group), expected, rtol=1e-9, atol=1e-9)
    close(loss(5 * scores - 90, 1e6 * values + 3, group), expected, rtol=1e-5, atol=1e-5)
    close(loss(scores, values, torch.arange(20)), expected, rtol=0, atol=0)
    if loss is soft_srocc:
        close(loss(scores, values.exp(), group), expected, rtol=0, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Loss) -> None:
    scores, values, group = samples(9, 4)
    assert torch.autograd.gradcheck(lambda s: loss(s, values, group), scores.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("scores", "values"),
    [
        ([0.1, 0.1, 0.1, 0.1], [1.0, 2.0, 3.0, 4.0]),
        ([0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]),
        ([1.0, 2.0, 3.0, 4.0], [0.1, 0.1, 0.1, 0.1]),
        ([1.0, 2.0, 3.0, 4.0], [1e-7, 1e-7, 1e-7, 1e-7]),
        ([0.7, 0.7, 0.7, 0.7], [0.1, 0.1, 0.1, 0.1]),
        ([3.0], [5.0]),
    ],
)
def test_without_a_correlation_the_loss_is_1(
    loss: Loss, dtype: torch.dtype, scores: list[float], values: list[float]
) -> None:
    given = torch.tensor(scores, dtype=dtype, requires_grad=True)
    group = torch.zeros(len(scores), dtype=torch.int64)
    found = loss(given, torch.tensor(values, dtype=dtype), group)
    (pull,) = torch.autograd.grad(found, given)
    assert found.dtype == dtype
    assert found.item() == pytest.approx(1, abs=1e-5)
    assert pull.isfinite().all()
    if len(set(values)) == 1:  # there is nothing to learn
        assert pull.abs().max().item() < 1e-5


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_scores_are_pulled_apart_the_right_way(loss: Loss) -> None:
    scores = torch.zeros(5, requires_grad=True)
    values = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0])
    (pull,) = torch.autograd.grad(loss(scores, values, torch.zeros(5).long()), scores)
    assert torch.equal((-pull).argsort(), values.argsort())


@pytest.mark.parametrize(("loss", "unit"), [(plcc, 1e-4), (soft_srocc, 1e-5)])
def test_small_scores_do_not_vanish(loss: Loss, unit: float) -> None:
    """Any unit of the scores gives the order, but what makes them ever smaller meets resistance."""
    values, group = torch.arange(6.0, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    losses = [loss(scale * values, values, group).item() for scale in (1, unit, unit / 2, unit / 4)]
    assert losses == sorted(losses)
    assert losses[1] > losses[0] + 0.1


@pytest.mark.parametrize("loss", LOSSES)
def test_free_scores_find_the_order(loss: Loss) -> None:
    _, values, group = samples(24, 6)
    scores = samples(24, 7)[0].requires_grad_()
    optimiser = torch.optim.Adam([scores], lr=0.03)
    for _ in range(600):
        optimiser.zero_grad()
        loss(scores, values, group).backward()
        optimiser.step()
    assert spearmanr(scores.detach(), values).statistic > 0.99


@pytest.mark.parametrize("loss", LOSSES)
def test_bad_input(loss: Loss) -> None:
    with pytest.raises(InvalidInput, match=r"shape \(N,\)"):
        loss(torch.zeros(3, 1), torch.zeros(3), torch.zeros(3, dtype=torch.int64))
