"""Which network a weights file holds, and files that hold none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.srgan.foreign.fast_srgan import FastSRGAN
from ranksrgan.srgan.foreign.imdn import IMDN
from ranksrgan.srgan.foreign.srgan_leftthomas import LeftThomasSRGAN
from ranksrgan.srgan.generators.architectures import ARCHITECTURES, load_generator
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet

SMALL: list[Generator] = [
    SRResNet(4, 2, 3),
    RRDBNet(features=4, blocks=2, growth=3),
    TwoViewRRDBNet(features=4, blocks=2, growth=3),
    IMDN(features=8, blocks=3, scale=2),
    LeftThomasSRGAN(features=4),
    LeftThomasSRGAN(features=4, doublings=3),
    FastSRGAN(features=4, blocks=3),
]


def test_the_table_and_the_classes_agree_on_the_names() -> None:
    assert {name: cls.architecture for name, cls in ARCHITECTURES.items()} == {
        name: name for name in ARCHITECTURES
    }


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.architecture)
def test_a_pth_finds_its_architecture_and_size(
    network: Generator, prefix: str, tmp_path: Path
) -> None:
    state = network.state_dict()
    torch.save({prefix + key: value for key, value in state.items()}, tmp_path / "g.pth")
    loaded = load_generator(tmp_path / "g.pth")
    assert type(loaded) is type(network)
    assert loaded.scale == network.scale
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.architecture)
def test_no_two_architectures_fit_one_file(network: Generator) -> None:
    state = network.state_dict()
    fitting = [
        cls for cls in ARCHITECTURES.values() if cls.fitting(cls.modern_keys(state)) is not None
    ]
    assert fitting == [type(network)]


def test_our_own_files_name_their_architecture(tmp_path: Path) -> None:
    network = IMDN(features=8, blocks=2)
    path = tmp_path / "g.safetensors"
    save_weights(path, network.state_dict(), kind="generator", architecture="imdn", options={})
    assert type(load_generator(path)) is IMDN
    # What a file says is believed: it is not tried as something else.
    save_weights(path, network.state_dict(), kind="generator", architecture="srresnet", options={})
    with pytest.raises(InvalidCheckpoint, match=r"is no srresnet .*26 keys.*model\.N\.bias \(2\)"):
        load_generator(path)


def test_other_kinds_and_unknown_architectures_are_refused(tmp_path: Path) -> None:
    state = SRResNet(4, 1).state_dict()
    path = tmp_path / "x.safetensors"
    save_weights(path, state, kind="ranker", architecture="vgg12", options={})
    with pytest.raises(InvalidCheckpoint, match="holds a ranker; a generator is wanted here"):
        load_generator(path)
    save_weights(path, state, kind="generator", architecture="swinir", options={})
    with pytest.raises(
        InvalidCheckpoint, match="architecture swinir; known are srresnet"
    ) as refused:
        load_generator(path)
    assert refused.value.field == str(path)


def test_an_unknown_file_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(3, 2), "b": torch.zeros(5)}, path)
    with pytest.raises(
        InvalidCheckpoint,
        match=r"no generator .*imdn.*: its 2 keys are features\.0\.weight, b$",
    ):
        load_generator(path)


@pytest.mark.parametrize("network", SMALL, ids=lambda network: network.architecture)
def test_a_damaged_state_dict_names_the_key(network: Generator, tmp_path: Path) -> None:
    path = tmp_path / "g.pth"
    last = [key for key in network.state_dict() if not key.endswith("num_batches_tracked")][-1]
    state = network.state_dict()
    del state[last]
    torch.save(state, path)
    with pytest.raises(InvalidCheckpoint, match=f"misses {last}"):
        load_generator(path)
    torch.save({**network.state_dict(), last: torch.zeros(7)}, path)
    with pytest.raises(InvalidCheckpoint, match=f"{last} is \\(7,\\)"):
        load_generator(path)
    torch.save({**network.state_dict(), last: torch.full((3,), torch.nan)}, path)
    with pytest.raises(InvalidCheckpoint, match="NaN"):
        load_generator(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    path = tmp_path / "evil.pth"
    torch.save({"conv_first.weight": Evil()}, path)
    with pytest.raises(InvalidCheckpoint, match="refused"):
        load_generator(path)
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(InvalidCheckpoint):
        load_generator(path)
    assert not marker.exists()
