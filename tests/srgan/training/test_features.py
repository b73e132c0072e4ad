"""Opening what the perceptual loss looks through."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.assets import get_asset
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, MissingAsset, UnknownName
from ranksrgan.ranker.vgg import VGG, VGG12
from ranksrgan.srgan.losses import perceptual_loss
from ranksrgan.srgan.training.encoders import AlexNetFeatures, DistilledVGG19Features, VGG19Features
from ranksrgan.srgan.training.features import FeatureNetwork, open_feature_network

CPU = torch.device("cpu")
NETWORKS = {
    "vgg19": VGG19Features,
    "vgg19_distilled": DistilledVGG19Features,
    "alexnet": AlexNetFeatures,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_encoder_is_opened_by_asset_and_recognised_in_either_file_format(
    encoder_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = encoder_files[name]
    images = torch.rand(1, 3, 40, 40)
    weights = load_weights(path)
    expected = NETWORKS[name](weights).extract(images)
    assert path.name == get_asset(name).file
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(path.parent))
    save_file(weights.tensors, tmp_path / "same.safetensors")
    for spec in (name, str(path), str(tmp_path / "same.safetensors")):
        network = open_feature_network(spec, CPU)
        assert type(network) is NETWORKS[name]
        found = network.extract(images)
        assert list(found) == list(expected)
        for layer, value in expected.items():
            torch.testing.assert_close(found[layer], value, rtol=1e-4, atol=1e-5)
    layers = ["relu2", "conv1"] if name == "alexnet" else ["conv1_2", "relu3_4"]
    layered = open_feature_network(name, CPU, layers)
    assert set(layered.extract(images)) == set(layers)
    assert layered.name != open_feature_network(name, CPU).name


@pytest.fixture
def ranker_file(tmp_path: Path) -> Path:
    network = VGG12(2)
    for key, value in network.state_dict().items():
        if "running" in key:
            value.copy_(torch.rand(value.shape) + 0.5)
    torch.save(network.state_dict(), tmp_path / "ranker.pth")
    return tmp_path / "ranker.pth"


def test_a_rankers_own_trunk(ranker_file: Path) -> None:
    network = open_feature_network(f"{ranker_file}?device=cpu", CPU)
    assert isinstance(network, FeatureNetwork)
    images = torch.rand(2, 3, 48, 40, requires_grad=True)
    plain = VGG(12, 2).eval()
    plain.load_state_dict(torch.load(ranker_file, weights_only=True))
    expected = plain.features(images)
    found = network.extract(images)
    assert list(found) == [f"stage{i}" for i in range(5)]
    for stage, value in enumerate(expected):
        torch.testing.assert_close(found[f"stage{stage}"], value, rtol=1e-5, atol=1e-6)
    chosen = open_feature_network(f"{ranker_file}?device=cpu", CPU, ["stage3", "stage1"])
    assert set(chosen.extract(images)) == {"stage3", "stage1"}
    assert chosen.name != network.name

    hr = torch.rand(2, 3, 48, 40)
    loss = perceptual_loss(images, hr, chosen, "mse", {"stage1": 0.5, "stage3": 2.0})
    with torch.no_grad():
        wanted = plain.features(hr)
    by_hand = 0.5 * (expected[1] - wanted[1]).square().mean()
    by_hand = by_hand + 2 * (expected[3] - wanted[3]).square().mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-4)
    ours, theirs = (torch.autograd.grad(value, images)[0] for value in (loss, by_hand))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_trunk_that_serves_as_a_loss_stays_bit_identical(ranker_file: Path) -> None:
    ranker = open_scorer(f"{ranker_file}?device=cpu")
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    before = ranker.score(images).detach()
    network = open_feature_network(f"{ranker_file}?device=cpu", CPU)
    named = network.name
    perceptual_loss(images, torch.rand(2, 3, 64, 64), network, "l1").backward()
    assert torch.equal(ranker.score(images), before)
    assert open_feature_network(f"{ranker_file}?device=cpu", CPU).name == named


def test_what_is_wrong_is_named(
    encoder_files: dict[str, Path],
    ranker_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(tmp_path / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(
        MissingAsset,
        match=r"vgg19-dcbb9e9d\.pth.*download https://.*losses\.perceptual\.weight=0",
    ):
        open_feature_network("vgg19", CPU)
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        open_feature_network(str(tmp_path / "gone.pth"), CPU)
    with pytest.raises(InvalidConfig, match="conv6_1 is no layer"):
        open_feature_network(str(encoder_files["vgg19"]), CPU, ["conv6_1"])
    other = tmp_path / "other.pth"
    torch.save({"features.2.weight": torch.zeros(2, 3, 3, 3)}, other)
    with pytest.raises(InvalidCheckpoint, match="does not fit Vgg19: misses features"):
        open_feature_network(str(other), CPU)
    torch.save({"weight": torch.zeros(2)}, other)
    with pytest.raises(InvalidCheckpoint, match="Ranker"):
        open_feature_network(str(other), CPU)
    with pytest.raises(InvalidConfig, match="niqe shows no features with a gradient"):
        open_feature_network("niqe", CPU)
    with pytest.raises(UnknownName, match="vgg18"):
        open_feature_network("vgg18", CPU)
    with pytest.raises(InvalidConfig, match="do not travel"):
        open_feature_network("grpc://localhost:1/ranker", CPU)
    network = open_feature_network(str(ranker_file), CPU, ["stage9"])
    images = torch.rand(1, 3, 32, 32)
    with pytest.raises(InvalidConfig, match=r"no features of stage9; it has stage0"):
        perceptual_loss(images, images, network, "l1", {"stage9": 1.0})
