from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ranksrgan.srgan.losses import Criterion, pixel_loss

CRITERIA: list[Criterion] = ["l1", "mse", "charbonnier"]


def test_pixel_losses_by_hand() -> None:
    sr, hr = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 0.0]]]])
    assert pixel_loss(sr, hr, "l1").item() == 0.75
    assert pixel_loss(sr, hr, "mse").item() == 0.625
    charbonnier = (math.sqrt(0.25 + 1e-6) + math.sqrt(1 + 1e-6)) / 2
    assert pixel_loss(sr, hr, "charbonnier").item() == pytest.approx(charbonnier, rel=1e-7)


def test_pixel_losses_are_those_of_numpy() -> None:
    sr, hr = torch.rand(3, 3, 5, 7), torch.rand(3, 3, 5, 7)
    difference = sr.numpy().astype(np.float64) - hr.numpy()
    expected = {
        "l1": np.abs(difference).mean(),
        "mse": (difference**2).mean(),
        "charbonnier": np.hypot(difference, 1e-3).mean(),
    }
    for criterion in CRITERIA:
        assert pixel_loss(sr, hr, criterion).item() == pytest.approx(expected[criterion], rel=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_gradients_of_pixel_losses(criterion: Criterion) -> None:
    sr = torch.rand(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    hr = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: pixel_loss(x, hr, criterion), (sr,))


def test_the_charbonnier_loss_has_a_gradient_where_nothing_differs() -> None:
    images = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(images, images.detach(), "charbonnier")
    assert loss.item() == pytest.approx(1e-3)
    loss.backward()
    assert images.grad is not None
    assert not images.grad.any()
