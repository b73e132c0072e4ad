from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksrgan.ranker import margin_ranking_loss
from ranksrgan.ranker.loss import magnitude_penalty


def test_values_by_hand() -> None:
    a = torch.tensor([1.0, 1.0, 0.2, 3.0])
    b = torch.tensor([0.0, 0.0, 0.0, 7.0])
    labels = torch.tensor([1.0, -1.0, 1.0, 0.0])
    # -1 + .5 -> 0;  1 + .5 = 1.5;  -.2 + .5 = .3;  the tie has no part: (0 + 1.5 + .3) / 3
    assert margin_ranking_loss(a, b, labels).item() == pytest.approx(0.6)
    assert margin_ranking_loss(a, b, labels, margin=0.1).item() == pytest.approx(1.1 / 3)


def test_no_clamp() -> None:
    """Beyond the ±5 of the published code a wrong order still costs, and still has a gradient."""
    a = torch.tensor([9.0], requires_grad=True)
    loss = margin_ranking_loss(a, torch.tensor([7.0]), torch.tensor([-1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(2.5)
    assert a.grad is not None
    assert a.grad.item() == pytest.approx(1.0)


def test_ties_alone_cost_nothing_and_move_nothing() -> None:
    a = torch.tensor([9.0, 1.0], requires_grad=True)
    loss = margin_ranking_loss(a, torch.zeros(2), torch.zeros(2))
    loss.backward()
    assert loss.item() == 0
    assert a.grad is not None
    assert not a.grad.any()


numbers = st.lists(
    st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32), st.sampled_from((-1.0, 1.0))),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(numbers)
def test_agrees_with_torch_and_with_itself_swapped(rows: list[tuple[float, float, float]]) -> None:
    a, b, labels = torch.tensor(rows, dtype=torch.float64).unbind(1)
    loss = margin_ranking_loss(a, b, labels)
    expected = torch.nn.functional.margin_ranking_loss(a, b, labels, margin=0.5)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss, margin_ranking_loss(b, a, -labels))


def test_magnitude_penalty_is_the_mean_square_of_all_scores() -> None:
    a, b = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.0])
    assert magnitude_penalty(a, b).item() == pytest.approx((1 + 4 + 9 + 0) / 4)
