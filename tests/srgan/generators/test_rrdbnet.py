from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import open_upscaler
from ranksrgan.srgan.generators.architectures import load_generator
from ranksrgan.srgan.generators.rrdbnet import RRDBNet

TAIL = ("upconv1", "upconv2", "HRconv", "conv_last")


@pytest.fixture(scope="module")
def official() -> RRDBNet:
    """Of the official size, without memory behind it."""
    with torch.device("meta"):
        return RRDBNet()


def first_generation(key: str, blocks: int) -> str:
    """The name of a weight in ESRGAN's first files, written down once more."""
    name, _, part = key.rpartition(".")
    if name.startswith("RRDB_trunk"):
        _, block, dense, conv = name.split(".")
        return f"model.1.sub.{block}.{dense}.{conv}.0.{part}"
    numbers = dict(zip(TAIL, (3, 6, 8, 10), strict=True)) | {"conv_first": 0}
    number = f"1.sub.{blocks}" if name == "trunk_conv" else numbers[name]
    return f"model.{number}.{part}"


def basicsr(key: str, blocks: int) -> str:
    names = {"trunk_conv": "conv_body", "upconv1": "conv_up1", "upconv2": "conv_up2"}
    name, _, part = key.rpartition(".")
    if name.startswith("RRDB_trunk"):
        _, block, dense, conv = name.split(".")
        return f"body.{block}.{dense.lower()}.{conv}.{part}"
    return f"{ {**names, 'HRconv': 'conv_hr'}.get(name, name) }.{part}"


def test_the_size_is_the_published_one(official: RRDBNet) -> None:
    assert sum(p.numel() for p in official.parameters()) == 16_697_987


def test_the_keys_are_the_official_ones(official: RRDBNet) -> None:
    dense_blocks = [f"RRDB_trunk.{i}.RDB{j}" for i in range(23) for j in (1, 2, 3)]
    names = [f"{block}.conv{k}" for block in dense_blocks for k in range(1, 6)]
    names += ["conv_first", "trunk_conv", *TAIL]
    keys = set(official.state_dict())
    assert len(keys) == 702
    assert keys == {f"{name}.{part}" for name in names for part in ("weight", "bias")}


@pytest.mark.parametrize("generation", [first_generation, basicsr])
def test_all_702_keys_of_other_generations_are_renamed(official: RRDBNet, generation) -> None:
    state = official.state_dict()
    old = {generation(key, 23): value for key, value in state.items()}
    assert sum(key in state for key in old) <= 4  # conv_first and conv_last have one name in two
    assert "model.1.sub.22.RDB3.conv5.0.bias" in old or "body.22.rdb3.conv5.bias" in old
    renamed = RRDBNet.modern_keys(old)
    assert renamed.keys() == state.keys()
    assert all(renamed[key] is value for key, value in state.items())
    assert RRDBNet.modern_keys(state) == state


@pytest.mark.parametrize("generation", [first_generation, basicsr])
def test_a_file_of_another_generation_gives_the_same_pictures(
    generation, lively_rrdbnet: RRDBNet, tmp_path: Path
) -> None:
    state = lively_rrdbnet.state_dict()
    torch.save(state, tmp_path / "new.pth")
    torch.save({generation(key, 2): value for key, value in state.items()}, tmp_path / "old.pth")
    loaded = load_generator(tmp_path / "old.pth")
    assert isinstance(loaded, RRDBNet)
    x = torch.rand(1, 3, 6, 9)
    with torch.no_grad():
        assert torch.equal(loaded(x), lively_rrdbnet(x))
    new, old = (open_upscaler(str(tmp_path / name)) for name in ("new.pth", "old.pth"))
    assert new.info.architecture == old.info.architecture == "rrdbnet"
    assert new.info.parameters_hash == old.info.parameters_hash
    assert torch.equal(new.upscale(x), old.upscale(x))


@pytest.fixture
def lively_rrdbnet() -> RRDBNet:
    """Small; every weight shows in the result."""
    torch.manual_seed(0)
    network = RRDBNet(features=6, blocks=2, growth=3)
    with torch.no_grad():
        for parameter in network.parameters():
            spread = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.2
            parameter.normal_(std=spread)
    return network.eval()


def test_the_forward_pass_is_the_published_graph(lively_rrdbnet: RRDBNet) -> None:
    network = lively_rrdbnet.double()
    state = network.state_dict()

    def conv(name: str, x: Tensor, slope: float = 1.0) -> Tensor:
        y = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        return torch.where(y > 0, y, slope * y)

    def dense(name: str, x: Tensor) -> Tensor:
        results = [x]
        for k in (1, 2, 3, 4):
            results.append(conv(f"{name}.conv{k}", torch.cat(results, 1), 0.2))
        return x + 0.2 * conv(f"{name}.conv5", torch.cat(results, 1))

    x = torch.rand(2, 3, 7, 5, dtype=torch.float64)
    first = y = conv("conv_first", x)
    for i in range(2):
        z = y
        for j in (1, 2, 3):
            z = dense(f"RRDB_trunk.{i}.RDB{j}", z)
        y = y + 0.2 * z
    y = first + conv("trunk_conv", y)
    for name in ("upconv1", "upconv2"):
        y = conv(name, y.repeat_interleave(2, 2).repeat_interleave(2, 3), 0.2)
    expected = conv("conv_last", conv("HRconv", y, 0.2))
    assert expected.shape == (2, 3, 28, 20)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("scale", "side"), [(2, 2), (1, 4)])
def test_folded_forms_see_squares_as_channels_and_enlarge_four_times(scale: int, side: int) -> None:
    torch.manual_seed(0)
    folding, plain = RRDBNet(4, 1, 2, scale), RRDBNet(4, 1, 2, 4)
    plain.conv_first = folding.conv_first
    plain.load_state_dict(folding.state_dict())
    x = torch.rand(2, 3, 7, 9)
    rows = [*range(7), *[6] * (-7 % side)]
    columns = [*range(9), *[8] * (-9 % side)]
    squares = x[:, :, rows][:, :, :, columns].reshape(
        2, 3, len(rows) // side, side, len(columns) // side, side
    )
    folded = squares.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
    with torch.no_grad():
        expected = plain(folded)[:, :, : 7 * scale, : 9 * scale]
        assert torch.equal(folding(x), expected)
    assert expected.std() > 0


def test_the_size_is_inferred_from_the_weights() -> None:
    state = RRDBNet(features=5, blocks=3, growth=2).state_dict()
    fitting = RRDBNet.fitting(state)
    assert fitting is not None
    shapes = {key: value.shape for key, value in fitting.state_dict().items()}
    assert shapes == {key: value.shape for key, value in state.items()}
    assert shapes["RRDB_trunk.2.RDB1.conv5.weight"] == (5, 5 + 4 * 2, 3, 3)
