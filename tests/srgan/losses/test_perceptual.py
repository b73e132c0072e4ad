from __future__ import annotations

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.srgan.losses import Criterion, perceptual_loss


class TwoLayers:
    name = "two"

    def __init__(self) -> None:
        self.with_gradient: list[bool] = []

    def extract(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.with_gradient.append(torch.is_grad_enabled())
        return {"sum": images.sum(1), "double": 2 * images}


def test_it_sums_its_layers_and_holds_hr_fixed() -> None:
    sr = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    hr = torch.full((1, 3, 2, 2), 0.25, requires_grad=True)
    network = TwoLayers()
    assert perceptual_loss(sr, hr, network, "l1").item() == pytest.approx(0.75 + 0.5)
    assert network.with_gradient == [False, True]  # one pass each, that over HR without a graph
    loss = perceptual_loss(sr, hr, network, "mse")
    assert loss.item() == pytest.approx(0.75**2 + 0.5**2)
    loss.backward()
    assert sr.grad is not None
    assert hr.grad is None


@pytest.mark.parametrize("criterion", ["l1", "mse", "charbonnier"])
def test_weights_of_layers_by_numpy(criterion: Criterion) -> None:
    sr, hr = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    d = sr.numpy().astype(np.float64) - hr.numpy()
    compare = {
        "l1": lambda x: np.abs(x).mean(),
        "mse": lambda x: (x**2).mean(),
        "charbonnier": lambda x: np.hypot(x, 1e-3).mean(),
    }[criterion]
    both = perceptual_loss(sr, hr, TwoLayers(), criterion, {"sum": 0.3, "double": 2.0})
    assert both.item() == pytest.approx(0.3 * compare(d.sum(1)) + 2 * compare(2 * d), rel=1e-5)
    one = perceptual_loss(sr, hr, TwoLayers(), criterion, {"double": 0.5})
    assert one.item() == pytest.approx(0.5 * compare(2 * d), rel=1e-5)


def test_its_gradient_by_hand() -> None:
    sr, hr = torch.rand(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, 4, 4)
    perceptual_loss(sr, hr, TwoLayers(), "mse", {"sum": 0.5, "double": 2.0}).backward()
    d = (sr - hr).detach()
    expected = 0.5 * 2 * d.sum(1, keepdim=True) / 32 + 2.0 * 2 * 2 * (2 * d) / 96
    assert sr.grad is not None
    torch.testing.assert_close(sr.grad, expected)


def test_a_layer_that_the_network_does_not_show_is_named() -> None:
    images = torch.rand(1, 3, 2, 2)
    with pytest.raises(InvalidConfig, match="two shows no features of triple; it has sum, double"):
        perceptual_loss(images, images, TwoLayers(), "l1", {"triple": 1.0})


def test_layers_are_summed_in_the_networks_order() -> None:
    class Levels:
        name = "levels"

        def extract(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {str(number): (number + 0.1) * images for number in range(6)}

    hr = torch.rand(1, 3, 8, 8)
    weights = {str(number): 0.3 + number / 7 for number in range(6)}
    gradients = []
    for layers in (weights, dict(reversed(weights.items()))):
        sr = (hr / 2).requires_grad_()
        perceptual_loss(sr, hr, Levels(), "mse", layers).backward()
        gradients.append(sr.grad)
    assert torch.equal(*gradients)
