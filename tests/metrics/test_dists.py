from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts.assets import VARIABLE, get_asset
from ranksrgan.contracts.errors import InvalidCheckpoint, MissingAsset
from ranksrgan.metrics.backbones import Vgg16
from ranksrgan.metrics.dists import Dists, DistsNetwork, HannPool, dists


@pytest.fixture
def assets(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(random_weights))
    return random_weights


def load(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)
    return {key: value.double() for key, value in state.items()}


def hann_pool(x: Tensor) -> Tensor:
    """Rows and columns one after the other, with zeros around."""
    squares = F.pad(x.square(), (1, 1, 1, 1))
    rows = squares[..., :-2, :] / 4 + squares[..., 1:-1, :] / 2 + squares[..., 2:, :] / 4
    both = rows[..., :-2] / 4 + rows[..., 1:-1] / 2 + rows[..., 2:] / 4
    return (both[..., ::2, ::2] + 1e-12).sqrt()


def reference_dists(folder: Path, x: Tensor, y: Tensor) -> Tensor:
    """As the paper defines it: 1 minus weighted similarities, in float64."""
    w = load(folder / get_asset("vgg16").file)
    weights = load(folder / get_asset("dists").file)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    stages: list[list[Tensor]] = []
    for image in (x.double(), y.double()):
        found, h = [image], (image - mean) / std
        for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            if block[0]:
                h = hann_pool(h)
            for number in block:
                weight, bias = (w[f"features.{number}.{part}"] for part in ("weight", "bias"))
                h = F.conv2d(h, weight, bias, padding=1).relu()
            found.append(h)
        stages.append(found)
    similarities = []
    for a, b in zip(*stages, strict=True):
        mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
        var_a, var_b = (f.var((2, 3), correction=0) for f in (a, b))
        covariance = (a * b).mean((2, 3)) - mean_a * mean_b
        similarities.append(
            (
                (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6),
                (2 * covariance + 1e-6) / (var_a + var_b + 1e-6),
            )
        )
    texture, structure = (torch.cat(terms, 1) for terms in zip(*similarities, strict=True))
    alpha, beta = weights["alpha"].flatten(), weights["beta"].flatten()
    return 1 - (texture @ alpha + structure @ beta) / (alpha.sum() + beta.sum())


@pytest.mark.parametrize("size", [(32, 45), (21, 30)])
def test_random_weights_against_another_computation(assets: Path, size: tuple[int, int]) -> None:
    """The authors' weights could not be had, so neither could their values be compared."""
    x, y = torch.rand(2, 2, 3, *size)
    y[0] = (x[0] + 0.1 * y[0]).clamp(0, 1)
    expected = reference_dists(assets, x, y)
    assert dists(x, y).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    inside = reference_dists(assets, x[..., 4:-4, 4:-4], y[..., 4:-4, 4:-4])
    assert dists(x, y, border=4).tolist() == pytest.approx(inside.tolist(), rel=1e-5)


def test_hann_pool() -> None:
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    assert torch.allclose(HannPool(3).double()(x), hann_pool(x))
    assert HannPool(3)(torch.ones(1, 3, 9, 9))[0, 0, 2, 2].item() == pytest.approx(1)


def test_equal_images_are_zero_exactly_also_where_they_are_flat(assets: Path) -> None:
    flat = torch.full((1, 3, 20, 20), 0.3)
    assert float(dists(flat, flat)) == 0
    assert 0 < float(dists(flat, flat * 0.5)) < 2


def test_one_pixel_is_enough(assets: Path) -> None:
    x, y = torch.rand(2, 1, 3, 1, 1)
    assert float(dists(x, y)) == pytest.approx(float(reference_dists(assets, x, y)), rel=1e-4)


def test_gradients() -> None:
    """Of what is small: 3 + 2 channels by a VGG16 cut down to them."""
    network = tiny_network().double()
    x, y = (torch.rand(1, 3, 6, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(network, (x, y))


def tiny_network() -> DistsNetwork:
    backbone = Vgg16(HannPool)
    backbone.features = torch.nn.Sequential(
        torch.nn.Conv2d(3, 2, 3, padding=1), torch.nn.Identity(), HannPool(2), torch.nn.ReLU()
    )
    return DistsNetwork(backbone, torch.rand(5), torch.rand(5))


def test_paths_take_the_place_of_assets(
    assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = torch.rand(2, 1, 3, 40, 40)
    expected = dists(x, y)
    backbone, weights = (assets / get_asset(name).file for name in ("vgg16", "dists"))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert torch.equal(dists(x, y, backbone=backbone, weights=weights), expected)
    with pytest.raises(MissingAsset, match="ranksrgan assets pull dists"):
        dists(x, y, backbone=backbone)
    with pytest.raises(MissingAsset, match="ranksrgan assets pull vgg16"):
        dists(x, y)


def test_scorer(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = Dists(border=2)
    assert scorer.info.name == "dists?border=2"
    assert scorer.info.min_side == 5
    assert not scorer.info.higher_is_better
    assert scorer.info.differentiable
    assert len(scorer.info.parameters_hash) == 64
    x, y = torch.rand(2, 1, 3, 30, 30)
    assert torch.equal(scorer.score(x, y), dists(x, y, 2))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert scorer.info.parameters_hash == ""


def test_wrong_weights(assets: Path, tmp_path: Path) -> None:
    x = torch.rand(1, 3, 20, 20)
    good = load(assets / get_asset("dists").file)
    for name, state, message in (
        ("missing", {"alpha": good["alpha"]}, "beta is missing"),
        (
            "short",
            good | {"alpha": torch.rand(1, 3, 1, 1)},
            r"alpha is of the shape \(1, 3, 1, 1\)",
        ),
        ("nothing", {key: value * 0 for key, value in good.items()}, "add up to 0 or less"),
    ):
        torch.save(state, tmp_path / f"{name}.pt")
        with pytest.raises(InvalidCheckpoint, match=message):
            dists(x, x, weights=tmp_path / f"{name}.pt")
