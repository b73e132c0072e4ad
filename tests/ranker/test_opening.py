"""Weights of a Ranker and their options, opened."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.checkpoint import hash_tensors, save_weights
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidInput,
    UnknownName,
)
from ranksrgan.ranker import VGG, VGG12, Ranker, load_ranker, open_ranker
from ranksrgan.ranker.heads import Head, ScoreScale, heads_about
from ranksrgan.ranker.vgg import KERNELS


def test_open_scorer(weights_file: Path, network: VGG, images: Tensor) -> None:
    opened = open_scorer(f"{weights_file}?device=cpu")
    assert isinstance(opened, Ranker)
    assert opened.info.higher_is_better
    assert opened.info.parameters_hash == hash_tensors(network.state_dict())
    plain = Ranker(network, higher_is_better=True, device="cpu")
    assert torch.equal(opened.score(images), plain.score(images))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"border": "4"}, "border; a ranker takes device, head, higher_is_better, precision"),
        ({"higher_is_better": "no"}, "true or false"),
        ({"higher_is_better": "false"}, "says higher_is_better=true"),
        ({"device": "tpu9"}, "tpu9"),
        ({"device": "meta"}, "meta"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_wrong_options(weights_file: Path, options: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        open_ranker(str(weights_file), options)


def test_no_file_named() -> None:
    with pytest.raises(InvalidInput, match="weights file"):
        open_scorer("ranker")
    with pytest.raises(InvalidCheckpoint, match="no such file"):
        open_scorer("nowhere/ranker.safetensors")


def test_official_pth(network: VGG, tmp_path: Path, images: Tensor) -> None:
    path = tmp_path / "mmsr_Ranker_NIQE.pth"
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state = {k: v for k, v in state.items() if "num_batches_tracked" not in k}  # very old files
    torch.save(state, path)
    opened = open_scorer(f"{path}?device=cpu")
    assert not opened.info.higher_is_better
    expected = Ranker(network, higher_is_better=False, device="cpu").score(images)
    assert torch.equal(opened.score(images), expected)
    assert load_ranker(path, higher_is_better=True, device="cpu").info.higher_is_better


def test_official_pth_of_the_first_generation(network: VGG, tmp_path: Path, images: Tensor) -> None:
    """Layers in one flat list, which give the same scores by themselves."""
    layers: list[nn.Module] = []
    old: dict[str, Tensor] = {}
    for stage in range(5):
        for place in (0, 1):
            for kind in ("conv", "bn"):
                name = f"{kind}{stage}_{place}"
                if name != "bn0_0":
                    module = network.get_submodule(name)
                    for key, value in module.state_dict().items():
                        old[f"features.{len(layers)}.{key}"] = value
                    layers.append(module)
            layers.append(nn.LeakyReLU(0.2))
    assert len(layers) == 29
    old |= {k: v for k, v in network.state_dict().items() if k.startswith("classifier")}
    path = tmp_path / "Ranker_NIQE.pth"
    torch.save(old, path)
    scores = load_ranker(path, device="cpu").score(images)
    assert torch.equal(scores, Ranker(network, higher_is_better=False, device="cpu").score(images))
    with torch.no_grad():
        pooled = nn.Sequential(*layers)(images).mean((2, 3))
        alone = network.classifier(pooled)[:, 0]
    torch.testing.assert_close(scores.float(), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", KERNELS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_depth_loads(depth: int, suffix: str, tmp_path: Path, images: Tensor) -> None:
    network = VGG(depth, 3, torch.Generator().manual_seed(depth)).eval()
    path = tmp_path / f"ranker{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_weights(
            path,
            network.state_dict(),
            kind="ranker",
            architecture=f"vgg{depth}",
            options=network.options,
        )
    loaded = open_scorer(f"{path}?device=cpu")
    expected = Ranker(network, higher_is_better=False, device="cpu")
    assert torch.equal(loaded.score(images), expected.score(images))
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.score(images).float(), network(images), rtol=1e-4, atol=1e-5
        )


@pytest.fixture
def two_heads(tmp_path: Path) -> tuple[VGG, Path]:
    made = VGG(8, 4, torch.Generator().manual_seed(2), heads=2).eval()
    path = tmp_path / "both.safetensors"
    heads = [Head("niqe", False, ScoreScale(0.5, 2.0)), Head("ma?border=4", True)]
    save_weights(
        path,
        made.state_dict(),
        kind="ranker",
        architecture="vgg8",
        options=made.options,
        about=heads_about(heads),
    )
    return made, path


def test_one_head_of_several(two_heads: tuple[VGG, Path], images: Tensor) -> None:
    network, path = two_heads
    first = open_scorer(f"{path}?device=cpu")
    named = open_scorer(f"{path}?device=cpu&head=niqe")
    second = open_scorer(f"{path}?device=cpu&head=ma%3Fborder%3D4")
    assert isinstance(first, Ranker)
    assert isinstance(second, Ranker)
    with torch.no_grad():
        scores = network(images).double()
    torch.testing.assert_close(first.score(images), scores[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second.score(images), scores[:, 1], rtol=1e-5, atol=1e-6)
    assert torch.equal(named.score(images), first.score(images))
    assert (first.info.higher_is_better, second.info.higher_is_better) == (False, True)
    assert (first.scale, second.scale) == ((0.5, 2.0), None)
    assert first.named("other").scale == (0.5, 2.0)
    assert first.info.parameters_hash == named.info.parameters_hash
    assert second.info.parameters_hash == hash_tensors(network.of_head(1).state_dict())
    assert first.info.parameters_hash != second.info.parameters_hash
    with pytest.raises(InvalidInput, match="says higher_is_better=true"):
        load_ranker(path, head="ma?border=4", higher_is_better=False)
    with pytest.raises(UnknownName, match=r"no head 'pi'; it has niqe, ma\?border=4"):
        load_ranker(path, head="pi")
    with pytest.raises(InvalidInput, match="no head 2"):
        Ranker(network, higher_is_better=True, head=2)


def test_heads_without_names(two_heads: tuple[VGG, Path], tmp_path: Path, images: Tensor) -> None:
    network, _ = two_heads
    path = tmp_path / "bare.pth"
    torch.save(network.state_dict(), path)
    ranker = load_ranker(path, device="cpu")
    expected = Ranker(network, higher_is_better=False, head=0, device="cpu")
    assert torch.equal(ranker.score(images), expected.score(images))
    with pytest.raises(UnknownName, match="it has none with a name"):
        load_ranker(path, head="niqe")


def test_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = tmp_path / "evil.pth"
    torch.save({"conv0_0.weight": Bomb()}, path)
    with pytest.raises(InvalidCheckpoint, match="refused"):
        load_ranker(path)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(InvalidCheckpoint):
        load_ranker(path)
    assert not (tmp_path / "exploded").exists()


def test_another_architecture(network: VGG, tmp_path: Path) -> None:
    state = network.state_dict()
    path = tmp_path / "w.safetensors"

    def saved(
        tensors: dict[str, Tensor],
        kind: str = "ranker",
        arch: str = "vgg12",
        options: dict[str, object] | None = None,
    ) -> Path:
        save_weights(path, tensors, kind=kind, architecture=arch, options=options or {"width": 4})
        return path

    with pytest.raises(InvalidCheckpoint, match="srresnet"):
        load_ranker(saved(state, "generator", "srresnet"))
    with pytest.raises(InvalidCheckpoint, match="generator"):
        open_scorer(str(saved(state, "generator", "srresnet")))
    with pytest.raises(
        InvalidCheckpoint, match="says architecture vgg16 and its tensors are of architecture vgg12"
    ):
        load_ranker(saved(state, "ranker", "vgg16"))
    with pytest.raises(InvalidCheckpoint, match="vgg8, vgg12, vgg16, nss is wanted"):
        load_ranker(saved(state, "ranker", "vgg19"))
    with pytest.raises(InvalidCheckpoint, match="no conv0_0"):
        load_ranker(saved({"conv_first.weight": torch.zeros(64, 3, 3, 3)}))
    with pytest.raises(InvalidCheckpoint, match=r"bn3_1\.weight is \(7,\) and should be \(32,\)"):
        load_ranker(saved({**state, "bn3_1.weight": torch.zeros(7)}))
    with pytest.raises(InvalidCheckpoint, match=r"misses conv4_1\.bias"):
        load_ranker(saved({k: v for k, v in state.items() if k != "conv4_1.bias"}))
    with pytest.raises(InvalidCheckpoint, match=r"unknown linear1\.bias"):
        load_ranker(saved({**state, "linear1.bias": torch.zeros(1)}))
    with pytest.raises(InvalidCheckpoint, match="says width 4 and its tensors are of width 2"):
        load_ranker(saved(VGG12(2).state_dict()))
    with pytest.raises(InvalidCheckpoint, match="says heads 2 and its tensors are of heads 1"):
        load_ranker(saved(state, options={"width": 4, "heads": 2}))
    with pytest.raises(InvalidCheckpoint, match="option slope; a Ranker has width and heads"):
        load_ranker(saved(state, options={"slope": 0.1}))
