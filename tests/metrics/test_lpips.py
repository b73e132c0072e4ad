from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.assets import VARIABLE, get_asset
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, MissingAsset
from ranksrgan.metrics.backbones import Backbone
from ranksrgan.metrics.lpips import NETS, Lpips, LpipsNetwork, Net, lpips

ASSETS = {"alex": "alexnet", "squeeze": "squeezenet", "vgg": "vgg16"}


def test_official_values(
    official: Callable[[str], list[tuple[Tensor, Tensor, float]]], published_weights: Path
) -> None:
    """Of AlexNet; four digits."""
    for image, reference, value in official("lpips"):
        assert float(lpips(image, reference)) == pytest.approx(value, abs=6e-5)


def load(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.double() for key, value in state.items()}


def conv(x: Tensor, state: dict[str, Tensor], name: str, **options: int) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **options).relu()


def alexnet(x: Tensor, w: dict[str, Tensor]) -> list[Tensor]:
    a = conv(x, w, "features.0", stride=4, padding=2)
    b = conv(F.max_pool2d(a, 3, 2), w, "features.3", padding=2)
    c = conv(F.max_pool2d(b, 3, 2), w, "features.6", padding=1)
    d = conv(c, w, "features.8", padding=1)
    return [a, b, c, d, conv(d, w, "features.10", padding=1)]


def squeezenet(x: Tensor, w: dict[str, Tensor]) -> list[Tensor]:
    def fire(x: Tensor, number: int) -> Tensor:
        squeezed = conv(x, w, f"features.{number}.squeeze")
        name = f"features.{number}.expand"
        return torch.cat(
            [conv(squeezed, w, f"{name}1x1"), conv(squeezed, w, f"{name}3x3", padding=1)], 1
        )

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    a = conv(x, w, "features.0", stride=2)
    b = fire(fire(pool(a), 3), 4)
    c = fire(fire(pool(b), 6), 7)
    d = fire(pool(c), 9)
    e = fire(d, 10)
    f = fire(e, 11)
    return [a, b, c, d, e, f, fire(f, 12)]


def vgg16(x: Tensor, w: dict[str, Tensor]) -> list[Tensor]:
    found = []
    for block in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        if found:
            x = F.max_pool2d(x, 2)
        for number in block:
            x = conv(x, w, f"features.{number}", padding=1)
        found.append(x)
    return found


REFERENCES = {"alex": alexnet, "squeeze": squeezenet, "vgg": vgg16}


def reference_lpips(folder: Path, net: str, x: Tensor, y: Tensor) -> Tensor:
    """In float64, image by image."""
    backbone = load(folder / get_asset(ASSETS[net]).file)
    linear = load(folder / get_asset(f"lpips-{net}").file)
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64)[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64)[:, None, None]
    features = [
        REFERENCES[net]((batch.double() * 2 - 1 - shift) / scale, backbone) for batch in (x, y)
    ]
    total = torch.zeros(len(x), dtype=torch.float64)
    for layer, (a, b) in enumerate(zip(*features, strict=True)):
        a, b = (f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (a, b))
        weighted = F.conv2d((a - b).square(), linear[f"lin{layer}.model.1.weight"])
        total += weighted.mean((1, 2, 3))
    return total


@pytest.mark.parametrize("net", NETS)
def test_random_weights_against_another_computation(
    net: Net, random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(random_weights))
    x, y = torch.rand(2, 2, 3, 39, 52)
    expected = reference_lpips(random_weights, net, x, y)
    assert lpips(x, y, net=net).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    inside = reference_lpips(random_weights, net, x[..., 4:-4, 4:-4], y[..., 4:-4, 4:-4])
    assert lpips(x, y, 4, net).tolist() == pytest.approx(inside.tolist(), rel=1e-5)


@pytest.mark.parametrize("net", ["alex", "squeeze"])
def test_published_weights_against_another_computation(
    net: Net, published_weights: Path, photograph: Callable[[str], Tensor]
) -> None:
    y = photograph("chelsea")[..., :90, :101]
    x = (y + 20 * torch.randn(y.shape)).clamp(0, 255).byte()
    expected = reference_lpips(published_weights, net, x / 255, y / 255)
    assert float(lpips(x, y, net=net)) == pytest.approx(float(expected), rel=1e-5)


def test_paths_take_the_place_of_assets(
    random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(random_weights))
    x, y = torch.rand(2, 1, 3, 40, 40)
    expected = lpips(x, y)
    monkeypatch.setenv(VARIABLE, str(random_weights / "nowhere"))
    backbone, weights = (
        random_weights / get_asset(name).file for name in ("alexnet", "lpips-alex")
    )
    assert torch.equal(lpips(x, y, backbone=backbone, weights=weights), expected)
    with pytest.raises(MissingAsset, match="ranksrgan assets pull lpips-alex"):
        lpips(x, y, backbone=backbone)
    with pytest.raises(MissingAsset, match="ranksrgan assets pull alexnet"):
        lpips(x, y, weights=weights)


@pytest.mark.parametrize("net", NETS)
def test_its_facts_are_known_without_weights(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scorer = Lpips(border=2, net=net)
    suffix = "" if net == "alex" else f"&net={net}"
    assert scorer.info.name == f"lpips?border=2{suffix}"
    assert scorer.info.min_side == {"alex": 31, "squeeze": 17, "vgg": 16}[net] + 4
    assert not scorer.info.higher_is_better
    assert scorer.info.differentiable
    assert scorer.info.parameters_hash == ""
    image = torch.rand(1, 3, 40, 40)
    with pytest.raises(MissingAsset, match=get_asset(ASSETS[net]).file):
        scorer.score(image, image)


def test_the_hash_is_that_of_the_parameters_in_use(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(random_weights))
    hashes = {net: Lpips(net=net).info.parameters_hash for net in NETS}
    assert all(len(value) == 64 for value in hashes.values())
    assert len(set(hashes.values())) == 3
    assert Lpips(border=3).info.parameters_hash == hashes["alex"]
    # A classifier beside the features is not in use; other linear weights are.
    for name in ("alexnet", "lpips-alex"):
        file = get_asset(name).file
        state = torch.load(random_weights / file, weights_only=True)
        torch.save(state | {"classifier.1.bias": torch.zeros(3)}, tmp_path / file)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert Lpips().info.parameters_hash == hashes["alex"]


def test_wrong_weights(random_weights: Path, tmp_path: Path) -> None:
    x = torch.rand(1, 3, 40, 40)
    files = {name: random_weights / get_asset(name).file for name in ("alexnet", "vgg16")}
    linear = random_weights / get_asset("lpips-alex").file
    with pytest.raises(InvalidCheckpoint, match="does not fit AlexNet"):
        lpips(x, x, backbone=files["vgg16"], weights=linear)
    message = r"not LPIPS for net=vgg: lin1.model.1.weight is of the shape \(1, 192, 1, 1\)"
    with pytest.raises(InvalidCheckpoint, match=message):
        lpips(x, x, net="vgg", backbone=files["vgg16"], weights=linear)
    with pytest.raises(InvalidCheckpoint, match=r"lin0.model.1.weight is missing"):
        lpips(x, x, backbone=files["alexnet"], weights=files["alexnet"])
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        lpips(x, x, backbone=files["alexnet"], weights=tmp_path / "none.pth")


def test_wrong_weights_do_not_hide_what_a_scorer_is(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alexnet", "lpips-alex"):
        (tmp_path / get_asset(name).file).write_text("cut short")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert Lpips().info.parameters_hash == ""
    with pytest.raises(InvalidCheckpoint):
        Lpips().score(torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40))


def test_no_such_network() -> None:
    x = torch.rand(1, 3, 40, 40)
    for wrong in (lambda: Lpips(net="vgg19"), lambda: lpips(x, x, net="vgg19")):
        with pytest.raises(InvalidInput, match="'vgg19': it is one of alex, squeeze, vgg"):
            wrong()


class Tiny(Backbone):
    taps = (1, 4)
    widths = (4, 5)
    min_side = 4

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()
        )


def tiny_network() -> LpipsNetwork:
    return LpipsNetwork(Tiny(), [torch.rand(4), torch.rand(5)])


def test_gradients_to_both() -> None:
    network = tiny_network().double()
    x, y = (torch.rand(1, 3, 7, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(network, (x, y))


def test_where_no_feature_answers_the_gradient_is_zero() -> None:
    network = tiny_network()
    nn.init.constant_(network.backbone.features[0].bias, -100.0)
    nn.init.constant_(network.backbone.features[3].bias, -100.0)
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    score = network(x, torch.rand(1, 3, 8, 8))
    score.backward()
    assert score.item() == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros_like(x))
