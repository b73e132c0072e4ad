from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.loss import (
    ELO_SCALE,
    bradley_terry,
    listwise,
    magnitude,
    margin_ranking,
    margin_ranking_as_published,
    ranknet,
    regression,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
Rows = list[tuple[float, float, int]]  # score, value, content


def elo(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    return bradley_terry(scores, values, group, 2.0)


def elo_across(scores: Tensor, values: Tensor, group: Tensor) -> Tensor:
    return bradley_terry(scores, values, group, 2.0, across=True)


ORDERS: list[Loss] = [margin_ranking, ranknet, listwise]
LOSSES: list[Loss] = [*ORDERS, elo, elo_across, regression, margin_ranking_as_published]

# Few values, so that ties are common; scores with ties and beyond the clamp among them.
rows = st.lists(
    st.tuples(
        st.floats(-9, 9, width=16),
        st.sampled_from((-2.0, 0.0, 0.5, 1.0, 7.0)),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=9,
)


def tensors(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    scores, values, group = zip(*rows, strict=True)
    double = torch.float64
    return (
        torch.tensor(scores, dtype=double),
        torch.tensor(values, dtype=double),
        torch.tensor(group),
    )


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# The definitions again, pair by pair in plain Python.


def loop_margin(rows: Rows, margin: float, gap: float) -> float:
    costs = []
    for (s, v, g), (t, w, h) in permutations(rows, 2):
        if g == h and v - w > gap:
            costs.append(max(0.0, margin - (s - t)))
    return mean(costs)


def loop_published(rows: Rows) -> float:
    costs = []
    for (s, v, g), (t, w, h) in combinations(rows, 2):
        if g == h:
            y = 1 if v >= w else -1
            costs.append(max(0.0, -y * (min(max(s, -5), 5) - min(max(t, -5), 5)) + 0.5))
    return mean(costs)


def loop_ranknet(rows: Rows, gap: float) -> float:
    return mean(
        [
            -math.log(sigmoid(s - t))
            for (s, v, g), (t, w, h) in permutations(rows, 2)
            if g == h and v - w > gap
        ]
    )


def loop_listwise(rows: Rows) -> float:
    costs = []
    for s, v, g in rows:
        below = [t for t, w, h in rows if g == h and w < v]
        if below:
            costs.append(-math.log(math.exp(s) / sum(map(math.exp, [s, *below]))))
    return mean(costs)


def loop_bradley_terry(rows: Rows, scale: float, across: bool) -> float:
    return mean(
        [
            (sigmoid(s - t) - sigmoid((v - w) / scale)) ** 2
            for (s, v, g), (t, w, h) in combinations(rows, 2)
            if across or g == h
        ]
    )


@given(rows)
def test_equal_to_loops(rows: Rows) -> None:
    given_ = tensors(rows)
    pairs = [
        (margin_ranking(*given_), loop_margin(rows, 0.5, 0.0)),
        (margin_ranking(*given_, margin=2.0, min_gap=0.5), loop_margin(rows, 2.0, 0.5)),
        (margin_ranking_as_published(*given_), loop_published(rows)),
        (ranknet(*given_), loop_ranknet(rows, 0.0)),
        (ranknet(*given_, min_gap=1.0), loop_ranknet(rows, 1.0)),
        (listwise(*given_), loop_listwise(rows)),
        (bradley_terry(*given_, scale=3.0), loop_bradley_terry(rows, 3.0, False)),
        (bradley_terry(*given_, scale=0.5, across=True), loop_bradley_terry(rows, 0.5, True)),
        (regression(*given_), mean([(s - v) ** 2 for s, v, _ in rows])),
        (magnitude(given_[0]), mean([s**2 for s, _, _ in rows])),
    ]
    for found, expected in pairs:
        assert found.shape == ()
        assert found.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_margin_ranking_is_pytorchs_on_pairs() -> None:
    """Two images a content, ties aside: what the published code calls, without its clamp."""
    a, b, values = torch.randn(3, 40, dtype=torch.float64)
    labels = values.sign()
    expected = torch.nn.functional.margin_ranking_loss(a, b, labels, margin=0.5)
    pair = torch.arange(40).repeat(2)
    found = margin_ranking(torch.cat([a, b]), torch.cat([values, torch.zeros(40)]), pair)
    torch.testing.assert_close(found, expected)


def test_margin_ranking_by_hand() -> None:
    scores = torch.tensor([1.0, 1.0, 0.2, 3.0, 0.0, 0.0, 0.0, 7.0])
    values = torch.tensor([1.0, 0.0, 1.0, 5.0, 0.0, 1.0, 0.0, 5.0])
    group = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    # -1 + .5 -> 0;  1 + .5 = 1.5;  -.2 + .5 = .3;  the tie has no part: (0 + 1.5 + .3) / 3
    assert margin_ranking(scores, values, group).item() == pytest.approx(0.6)
    assert margin_ranking(scores, values, group, margin=0.1).item() == pytest.approx(1.1 / 3)


def gradient(loss: Loss, rows: Rows) -> Tensor:
    scores, values, group = tensors(rows)
    scores.requires_grad_()
    (found,) = torch.autograd.grad(loss(scores, values, group), scores)
    return found


def test_beyond_the_clamp_of_the_published_code() -> None:
    """A wrong order far out costs its margin there and moves nothing; here it does both."""
    wrong = [(9.0, 0.0, 0), (7.0, 1.0, 0)]
    assert margin_ranking_as_published(*tensors(wrong)).item() == pytest.approx(0.5)
    assert gradient(margin_ranking_as_published, wrong).tolist() == [0, 0]
    assert margin_ranking(*tensors(wrong)).item() == pytest.approx(2.5)
    assert gradient(margin_ranking, wrong).tolist() == [1, -1]
    # On one side of the limit only, the other score is still moved.
    assert gradient(margin_ranking_as_published, [(9.0, 0.0, 0), (4.0, 1.0, 0)]).tolist() == [0, -1]


def test_the_published_code_orders_ties_as_they_stand() -> None:
    tie = [(1.0, 3.0, 0), (1.0, 3.0, 0)]
    assert margin_ranking_as_published(*tensors(tie)).item() == pytest.approx(0.5)
    assert gradient(margin_ranking_as_published, tie).tolist() == [-1, 1]
    for loss in ORDERS:
        assert loss(*tensors(tie)).item() == 0


ALONE: list[Rows] = [[(1.0, 3.0, 0), (-4.0, 5.0, 1)], [(9.0, 1.0, 0)]]  # one image a content
TIED: Rows = [(1.0, 3.0, 0), (-4.0, 3.0, 0), (2.0, 3.0, 0)]


@pytest.mark.parametrize(
    ("loss", "without_order"),
    [
        *((loss, rows) for loss in [*ORDERS, elo] for rows in ALONE),
        *((loss, TIED) for loss in ORDERS),
    ],
)
def test_without_an_order_nothing_is_lost_and_nothing_moves(
    loss: Loss, without_order: Rows
) -> None:
    assert loss(*tensors(without_order)).item() == 0
    assert not gradient(loss, without_order).any()


def test_to_bradley_and_terry_a_tie_is_an_observation() -> None:
    assert gradient(elo, TIED[:2]).sign().tolist() == [1, -1]


def test_ties_do_not_move_each_other() -> None:
    """Of the two tied at the top, each is pulled as it would be without the other."""
    both = [(0.3, 2.0, 0), (1.9, 2.0, 0), (1.0, 0.0, 0)]
    for loss in ORDERS:
        pulls = gradient(loss, both)
        for tied in (0, 1):
            alone = gradient(loss, [both[tied], both[2]])
            assert pulls[tied].item() == pytest.approx(alone[0].item() / 2, rel=1e-12)


def test_listwise_is_the_likelihood_of_plackett_and_luce() -> None:
    """Over all orders of four images the likelihoods sum to 1."""
    scores = torch.randn(4, dtype=torch.float64)
    group = torch.zeros(4, dtype=torch.int64)
    losses = [
        listwise(scores, torch.tensor(order, dtype=torch.float64), group)
        for order in permutations(range(4))
    ]
    assert sum(math.exp(-3 * loss.item()) for loss in losses) == pytest.approx(1, rel=1e-12)
    equal = listwise(torch.zeros(4), torch.arange(4.0), group)
    assert 3 * equal.item() == pytest.approx(math.log(24))


@given(rows)
def test_listwise_of_two_versions_is_ranknet(rows: Rows) -> None:
    pairs = [(s, v, i // 2) for i, (s, v, _) in enumerate(rows)]
    torch.testing.assert_close(listwise(*tensors(pairs)), ranknet(*tensors(pairs)))


def test_bradley_terry_knows_elo() -> None:
    """1500 wins against 1600 with probability 0.36; scores in logits of it cost nothing."""
    values = torch.tensor([1500.0, 1600.0], dtype=torch.float64)
    group = torch.zeros(2, dtype=torch.int64)
    silent = bradley_terry(torch.zeros(2, dtype=torch.float64), values, group, ELO_SCALE)
    assert math.sqrt(silent.item()) == pytest.approx(0.5 - 0.3599, abs=5e-5)
    assert bradley_terry(values / ELO_SCALE + 5, values, group, ELO_SCALE).item() < 1e-30
    assert math.isclose(1 / ELO_SCALE, 0.00575646, abs_tol=5e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Loss) -> None:
    scores = (3 * torch.randn(7, dtype=torch.float64)).requires_grad_()
    values = torch.tensor([1.0, 2.0, 2.0, -1.0, 0.0, 5.0, 0.5], dtype=torch.float64)
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    assert torch.autograd.gradcheck(lambda s: loss(s, values, group), scores)


@given(rows, st.permutations(range(9)))
def test_the_order_in_the_batch_plays_no_part(rows: Rows, order: list[int]) -> None:
    shuffled = [rows[i] for i in order if i < len(rows)]
    for loss in LOSSES:
        if loss is not margin_ranking_as_published:
            torch.testing.assert_close(loss(*tensors(rows)), loss(*tensors(shuffled)))


@given(rows)
def test_what_changes_nothing(rows: Rows) -> None:
    scores, values, group = tensors(rows)
    offsets = torch.tensor([3.0, -1.0, 0.25, 8.0], dtype=torch.float64)[group]
    renamed = torch.tensor([40, -3, 7, 0])[group]
    for loss in [*ORDERS, elo]:
        torch.testing.assert_close(
            loss(scores + offsets, values, group), loss(scores, values, group)
        )
        torch.testing.assert_close(loss(scores, values, renamed), loss(scores, values, group))
    for loss in ORDERS:  # any increasing map of the metric, and any content's own
        torch.testing.assert_close(
            loss(scores, values.exp() + offsets, group), loss(scores, values, group)
        )
    torch.testing.assert_close(
        elo_across(scores + 3, values - 2, renamed), elo_across(scores, values, group)
    )


def test_a_loss_across_contents_sees_offsets() -> None:
    given_ = [(0.0, 0.0, 0), (1.0, 2.0, 0), (5.0, 0.0, 1), (6.0, 2.0, 1)]
    assert elo(*tensors(given_)).item() == pytest.approx(0, abs=1e-30)
    assert elo_across(*tensors(given_)).item() > 0.1


@pytest.mark.parametrize("loss", [*ORDERS, elo, elo_across, regression])
def test_free_scores_find_the_order(loss: Loss) -> None:
    values = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).flatten()
    group = torch.arange(4).repeat_interleave(5)
    scores = torch.randn(20, generator=torch.Generator().manual_seed(2)).requires_grad_()
    optimiser = torch.optim.Adam([scores], lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss(scores, values, group).backward()
        optimiser.step()
    order = scores.detach().view(4, 5).argsort(1)
    assert torch.equal(order, values.view(4, 5).argsort(1))


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([300.0, -300.0, 0.0], requires_grad=True)
    values, group = torch.tensor([0.0, 1.0, 2.0]), torch.zeros(3, dtype=torch.int64)
    for loss in LOSSES:
        value = loss(scores, values, group)
        (pull,) = torch.autograd.grad(value, scores)
        assert value.isfinite()
        assert pull.isfinite().all()
        assert value.dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_a_score_that_is_not_a_number_shows(loss: Loss) -> None:
    scores = torch.tensor([float("nan"), 1.0])
    assert loss(scores, torch.tensor([0.0, 1.0]), torch.tensor([0, 0])).isnan()


@pytest.mark.parametrize("loss", LOSSES)
def test_bad_input(loss: Loss) -> None:
    three, group = torch.zeros(3), torch.zeros(3, dtype=torch.int64)
    for wrong in (
        (torch.zeros(3, 1), three, group),
        (three, torch.zeros(2), group),
        (three, three, group[:2]),
        (torch.zeros(0), torch.zeros(0), group[:0]),
        (torch.zeros(()), torch.zeros(()), torch.tensor(0)),
    ):
        with pytest.raises(InvalidInput, match=r"shape \(N,\)"):
            loss(*wrong)
    with pytest.raises(InvalidInput, match=r"int64 and torch\.int64"):
        loss(group, three, group)
    with pytest.raises(InvalidInput, match=r"float32 and torch\.float32") as caught:
        loss(three, three, three)
    assert caught.value.field == "group"
