from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.srgan.losses import RankFunction, RankLoss


class MeanScorer:
    """Scores an image by its mean pixel: the gradient is known."""

    def __init__(self, higher_is_better: bool = False, gain: float = 1.0) -> None:
        self.info = ScorerInfo("mean", "1", higher_is_better, False, True, 1)
        self.gain = gain

    def score(self, images: torch.Tensor, references: torch.Tensor | None = None) -> torch.Tensor:
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
        return self.gain * images.double().mean((1, 2, 3))

    def gradient(
        self, images: torch.Tensor, references: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        size = images[0].numel()
        return self.score(images), torch.full_like(images, self.gain / size)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_rank_loss_is_the_mean_sigmoid_whatever_the_batch() -> None:
    images = torch.stack([torch.full((3, 4, 4), value) for value in (0.0, 0.25, 1.0)])
    expected = sum(sigmoid(3 * value) for value in (0.0, 0.25, 1.0)) / 3
    loss = RankLoss([(MeanScorer(gain=3), 1.0)])
    assert loss(images).item() == pytest.approx(expected, rel=1e-6)
    assert loss(images.repeat(4, 1, 1, 1)).item() == pytest.approx(expected, rel=1e-6)
    assert loss(images).dtype == torch.float32


def test_the_published_sum_over_eight_is_the_documented_weight() -> None:
    images = torch.rand(8, 3, 4, 4)
    published = 0.03 * torch.sigmoid(images.mean((1, 2, 3))).sum()
    ours = 0.24 * RankLoss([(MeanScorer(), 1.0)])(images)
    assert ours.item() == pytest.approx(published.item(), rel=1e-6)


def test_what_the_published_code_minimises_to_the_letter() -> None:
    """A sum over the batch, and a bias of the scores."""
    images = torch.rand(8, 3, 4, 4)
    published = 0.03 * torch.sigmoid(3 * images.mean((1, 2, 3)) - 0.4).sum()
    loss = RankLoss([(MeanScorer(gain=3), 1.0)], bias=0.4, reduction="sum")
    assert 0.03 * loss(images).item() == pytest.approx(published.item(), rel=1e-6)


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("function", ["sigmoid", "identity", "exp"])
def test_functions_of_the_score_by_numpy(function: RankFunction, higher_is_better: bool) -> None:
    images = torch.rand(5, 3, 4, 4)
    scores = images.numpy().astype(np.float64).mean((1, 2, 3)) * 2
    signed = -scores if higher_is_better else scores
    values = {
        "sigmoid": 1 / (1 + np.exp(-signed)),
        "identity": signed,
        "exp": np.exp(signed),
    }
    loss = RankLoss([(MeanScorer(higher_is_better, gain=2), 0.5)], function=function)
    assert loss(images).item() == pytest.approx(0.5 * values[function].mean(), rel=1e-5)
    images.requires_grad_()
    loss(images).backward()
    slopes = {"sigmoid": values["sigmoid"] * (1 - values["sigmoid"]), "exp": values["exp"]}
    slope = slopes.get(function, np.ones(5)) * (-1 if higher_is_better else 1)
    expected = torch.from_numpy(0.5 * slope * 2 / 48 / 5).float()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, expected[:, None, None, None].expand(5, 3, 4, 4))


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_minimising_always_moves_towards_the_better_score(higher_is_better: bool) -> None:
    images = torch.full((2, 3, 4, 4), 0.5, requires_grad=True)
    loss = RankLoss([(MeanScorer(higher_is_better, gain=2), 1.0)])(images)
    assert loss.item() == pytest.approx(sigmoid(-1.0 if higher_is_better else 1.0), rel=1e-6)
    loss.backward()
    assert images.grad is not None
    assert bool(((images.grad < 0) if higher_is_better else (images.grad > 0)).all())


def test_several_rankers_are_weighted_and_added() -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    rankers = [(MeanScorer(gain=2), 0.75), (MeanScorer(True, gain=4), 0.5)]
    expected = 0.75 * sigmoid(1) + 0.5 * sigmoid(-2)
    assert RankLoss(rankers)(images).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_a_bias_among_the_scores_where_the_sigmoid_is_flat(higher_is_better: bool) -> None:
    sign = -1 if higher_is_better else 1
    scorer, images = MeanScorer(higher_is_better, gain=sign * 9.0), torch.ones(2, 3, 4, 4)
    flat = RankLoss([(scorer, 2.0)], bias=sign * 4.0)
    assert flat.steeper_bias(float(flat(images))) == pytest.approx(sign * 9.0, abs=1e-3)
    steep = RankLoss([(scorer, 2.0)], bias=sign * 9.0)
    assert steep.steeper_bias(float(steep(images))) is None
    good = RankLoss([(scorer, 2.0)], bias=sign * 20.0)  # flat, and nothing is wanted any more
    assert good.steeper_bias(float(good(images))) is None
    for other in (
        RankLoss([(scorer, 2.0)], bias=sign * 4.0, reduction="sum"),
        RankLoss([(scorer, 2.0)], function="identity"),
        RankLoss([(scorer, 1.0), (MeanScorer(not higher_is_better, -sign * 9.0), 1.0)]),
    ):
        assert other.steeper_bias(100.0) is None
    assert RankLoss([(scorer, 2.0)]).steeper_bias(2.0) == pytest.approx(
        sign * math.log(1e6), rel=1e-3
    )


def test_rankers_see_the_shown_image_and_pixels_outside_get_no_gradient() -> None:
    images = torch.tensor([-0.5, 0.5, 1.5]).view(3, 1, 1, 1).expand(3, 3, 2, 2).clone()
    images.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = RankLoss([(MeanScorer(), 1.0)])(images)
    assert loss.item() == pytest.approx((sigmoid(0) + sigmoid(0.5) + sigmoid(1)) / 3, rel=1e-6)
    loss.backward()
    assert images.grad is not None
    assert not images.grad[0].any()
    assert not images.grad[2].any()
    slope = sigmoid(0.5) * (1 - sigmoid(0.5)) / 3 / 12
    torch.testing.assert_close(images.grad[1], torch.full((3, 2, 2), slope))


def test_a_ranker_sees_windows_that_the_seed_decides(toy_ranker) -> None:
    ranker, images = toy_ranker(), torch.rand(4, 3, 24, 24, requires_grad=True)
    loss = RankLoss([(ranker, 1.0)], jitter=8)
    first, again, other = (loss(images, seed) for seed in (1, 1, 2))
    assert [tuple(seen.shape) for seen in ranker.seen] == [(4, 3, 16, 16)] * 3
    assert torch.equal(ranker.seen[0], ranker.seen[1])
    assert first.item() == again.item() != other.item()
    first.backward()
    assert images.grad is not None
    # A window of 16 x 16, less the edge that the toy's strides leave out.
    reached = (images.grad != 0).any(dim=1).flatten(1).sum(dim=1)
    assert bool(((reached > 0) & (reached <= 16 * 16)).all())


def test_what_cannot_be_a_rank_loss_is_refused() -> None:
    def scorer(**changes: bool) -> MeanScorer:
        changed = MeanScorer()
        changed.info = replace(changed.info, **changes)
        return changed

    with pytest.raises(InvalidConfig, match="at least one"):
        RankLoss([])
    with pytest.raises(InvalidConfig, match="no gradient"):
        RankLoss([(scorer(differentiable=False), 1.0)])
    with pytest.raises(InvalidConfig, match="wants references"):
        RankLoss([(scorer(needs_reference=True), 1.0)])
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidConfig, match="positive"):
            RankLoss([(MeanScorer(), weight)])


def test_a_ranker_is_not_changed_by_its_use(toy_ranker) -> None:
    ranker = toy_ranker()
    before = {key: value.clone() for key, value in ranker.state_dict().items()}
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    RankLoss([(ranker, 1.0)])(images).backward()
    assert images.grad is not None
    assert images.grad.any()
    assert all(torch.equal(value, before[key]) for key, value in ranker.state_dict().items())
    assert all(parameter.grad is None for parameter in ranker.parameters())


def test_bfloat16_is_asked_for_and_never_comes_from_around(toy_ranker) -> None:
    """Half the time; the gradient keeps its direction."""
    ranker, images = toy_ranker(), torch.rand(4, 3, 32, 32, requires_grad=True)
    loss = RankLoss([(ranker, 1.0)])
    exact = loss(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(images).item() == exact.item()
    fast = loss(images, bfloat16=True)
    assert fast.dtype == torch.float32
    assert fast.item() != exact.item()
    assert fast.item() == pytest.approx(exact.item(), abs=0.01)
    assert {seen.dtype for seen in ranker.seen} == {torch.float32}
    ours, theirs = (torch.autograd.grad(value, images)[0].flatten() for value in (fast, exact))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.98
