from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidCheckpoint,
    InvalidInput,
    MissingAsset,
)
from ranksrgan.metrics.perceptual import distances
from ranksrgan.metrics.pieapp import Pieapp, PieappNetwork, pieapp


@pytest.fixture(scope="module")
def network() -> PieappNetwork:
    """A sixteenth of the width, with random weights that answer to small differences."""
    torch.manual_seed(5)
    network = PieappNetwork(width=4, stride=20)
    for name, value in network.named_parameters():
        if name.startswith("fc2_weight"):
            torch.nn.init.uniform_(value, 0.1, 1.0)  # weights of one sign, as a mean wants
    return network.requires_grad_(False).eval()


def reference_pieapp(network: PieappNetwork, x: Tensor, y: Tensor, stride: int) -> float:
    """Patch by patch in float64, as the paper tells it."""
    w = {key: value.double() for key, value in network.state_dict().items()}

    def features(patch: Tensor) -> list[Tensor]:
        maps, found = 255 * patch, []
        for number in range(1, 12):
            maps = F.conv2d(maps, w[f"conv{number}.weight"], w[f"conv{number}.bias"], padding=1)
            maps = maps.clamp(min=0)
            if number in (3, 5, 7, 9, 11):
                found.append(maps.flatten())
            elif number > 1:
                quarters = [maps[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
                maps = torch.stack(quarters).amax(0)
        return found

    def head(name: str, values: Tensor) -> Tensor:
        hidden = (w[f"fc1_{name}.weight"] @ values + w[f"fc1_{name}.bias"]).clamp(min=0)
        return (w[f"fc2_{name}.weight"] @ hidden + w[f"fc2_{name}.bias"])[0]

    def begins(side: int) -> list[int]:
        return sorted({*range(0, side - 64, stride), side - 64})

    total = weights = torch.zeros((), dtype=torch.float64)
    for top in begins(x.shape[1]):
        for left in begins(x.shape[2]):
            a, b = (
                features(image.double()[None, :, top : top + 64, left : left + 64])
                for image in (x, y)
            )
            score = 0.01 * head("score", torch.cat(b) - torch.cat(a))
            score = w["ref_score_subtract.weight"][0, 0] * score + w["ref_score_subtract.bias"][0]
            weight = head("weight", b[-1] - a[-1]) + 1e-6
            total, weights = total + score * weight, weights + weight
    return float(total / weights)


def test_random_weights_against_another_computation(network: PieappNetwork) -> None:
    """The authors' weights could not be had, so neither could their values be compared."""
    x, y = torch.rand(2, 2, 3, 70, 105)
    y[0] = (x[0] + 0.1 * y[0]).clamp(0, 1)
    expected = [reference_pieapp(network, a, b, 20) for a, b in zip(x, y, strict=True)]
    assert distances(network, x, y, 0).tolist() == pytest.approx(expected, rel=1e-4)
    inside = reference_pieapp(network, x[0, :, 3:-3, 3:-3], y[0, :, 3:-3, 3:-3], 20)
    assert distances(network, x[:1], y[:1], 3).item() == pytest.approx(inside, rel=1e-4)


def test_the_published_network_has_its_parameters() -> None:
    with torch.device("meta"):
        network = PieappNetwork()
    assert sum(p.numel() for p in network.parameters()) == 68_376_580
    assert network.fc1_score.in_features == 120_832
    assert network.fc1_weight.in_features == 2048


def test_equal_images_have_one_error(network: PieappNetwork) -> None:
    one, other = torch.rand(2, 1, 3, 64, 80)
    errors = torch.cat([distances(network, x, x, 0) for x in (one, other)])
    assert errors[0] == errors[1]


def test_the_gradient_is_that_of_differences(network: PieappNetwork) -> None:
    double = PieappNetwork(width=4, stride=20).double()
    double.load_state_dict(network.state_dict())
    x, y = (torch.rand(1, 3, 64, 84, dtype=torch.float64) for _ in range(2))
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad(double(x, y), x)
    direction = gradient / gradient.norm()
    step = 1e-6
    change = double(x + step * direction, y) - double(x - step * direction, y)
    assert (change / (2 * step)).item() == pytest.approx(gradient.norm().item(), rel=1e-3)


def test_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scorer = Pieapp(border=2, stride=6)
    assert scorer.info.name == "pieapp?border=2&stride=6"
    assert (scorer.info.min_side, scorer.info.higher_is_better) == (68, False)
    assert scorer.info.parameters_hash == ""
    with pytest.raises(MissingAsset, match="ranksrgan assets pull pieapp"):
        scorer.score(torch.rand(1, 3, 70, 70), torch.rand(1, 3, 70, 70))
    with pytest.raises(InvalidInput, match="a stride of 65 is not 1 to 64"):
        Pieapp(stride=65)


def test_what_cannot_be_scored(network: PieappNetwork, tmp_path: Path) -> None:
    small = torch.rand(1, 3, 63, 70)
    with pytest.raises(ImageTooSmall, match="63 x 70 pixels are too few for PieAPP"):
        distances(network, small, small, 0)
    torch.save(network.state_dict(), tmp_path / "narrow.pth")
    x = torch.rand(1, 3, 64, 64)
    with pytest.raises(InvalidCheckpoint, match=r"conv1\.weight"):
        pieapp(x, x, weights=tmp_path / "narrow.pth")
