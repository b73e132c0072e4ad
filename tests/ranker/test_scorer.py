from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts import DifferentiableScorer, open_scorer
from ranksrgan.contracts.checkpoint import hash_tensors, save_weights
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidCheckpoint,
    InvalidInput,
    UnknownName,
)
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog, load_ranker, open_ranker
from ranksrgan.ranker import scorer as scorer_module


@pytest.fixture
def network() -> VGG12:
    """Width 4, with running statistics and weights of its own."""
    made = VGG12(4, torch.Generator().manual_seed(0))
    for _ in range(5):
        made(torch.rand(4, 3, 48, 48))
    return made.eval()


@pytest.fixture
def ranker(network: VGG12) -> Ranker:
    return Ranker(network, higher_is_better=False, device="cpu")


@pytest.fixture
def weights_file(network: VGG12, tmp_path: Path) -> Path:
    path = tmp_path / "ranker.safetensors"
    save_weights(
        path,
        network.state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 4},
        about={"metric": "ssim", "higher_is_better": True},
    )
    return path


def test_scores_are_those_of_the_network(ranker: Ranker, network: VGG12, images: Tensor) -> None:
    scores = ranker.score(images)
    assert scores.shape == (3,)
    assert scores.dtype == torch.float64
    assert not scores.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(scores.float(), network(images), rtol=1e-5, atol=1e-6)
    assert scores.unique().numel() == 3


def test_uint8_grey_and_layout(ranker: Ranker, images: Tensor) -> None:
    bytes_ = images.mul(255).round().to(torch.uint8)
    assert torch.equal(ranker.score(bytes_), ranker.score(bytes_.float() / 255))
    grey = images[:, :1]
    assert torch.equal(ranker.score(grey), ranker.score(grey.repeat(1, 3, 1, 1)))
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(ranker.score(images), ranker.score(last))


def test_info(ranker: Ranker) -> None:
    assert isinstance(ranker, DifferentiableScorer)
    assert ranker.info.name == "ranker"
    assert ranker.info.differentiable
    assert ranker.info.min_side == 32
    assert not ranker.info.needs_reference


def test_gradient_equals_finite_differences(ranker: Ranker, network: VGG12, images: Tensor) -> None:
    small = images[:2, :, :33, :36]
    scores, gradients = ranker.gradient(small)
    assert torch.equal(scores, ranker.score(small))
    assert gradients.shape == small.shape
    assert gradients.dtype == small.dtype
    assert not scores.requires_grad
    precise = VGG12(4).double()
    precise.load_state_dict(network.state_dict())
    precise.eval()
    step = 1e-6
    for i in range(2):
        direction = torch.randn(1, *small.shape[1:], dtype=torch.float64)
        image = small[i : i + 1].double()
        with torch.no_grad():
            rise = precise(image + step * direction) - precise(image - step * direction)
        slope = (gradients[i].double() * direction[0]).sum()
        assert slope.item() == pytest.approx((rise / (2 * step)).item(), rel=1e-3, abs=1e-5)


def test_score_carries_the_gradient(ranker: Ranker, images: Tensor) -> None:
    for given in (images, images.double(), images[:, :1].clone()):
        leaves = given.detach().clone().requires_grad_()
        weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        (weights * ranker.score(leaves)).sum().backward()
        _, gradients = ranker.gradient(given)
        assert leaves.grad is not None
        assert gradients.dtype == given.dtype
        expected = weights.to(given.dtype).view(-1, 1, 1, 1) * gradients
        torch.testing.assert_close(leaves.grad, expected, rtol=1e-4, atol=1e-7)


def test_gradient_without_grad_mode(ranker: Ranker, images: Tensor) -> None:
    _, expected = ranker.gradient(images)
    with torch.no_grad():
        assert torch.equal(ranker.gradient(images)[1], expected)
    with torch.inference_mode():
        assert torch.equal(ranker.gradient(images)[1], expected)


def test_an_image_does_not_see_its_neighbours(ranker: Ranker, images: Tensor) -> None:
    torch.testing.assert_close(
        ranker.score(images)[1], ranker.score(images[1:2])[0], rtol=1e-5, atol=1e-6
    )


def test_a_loss_leaves_it_as_it_was(ranker: Ranker, images: Tensor) -> None:
    frozen = ranker._network
    before = hash_tensors(frozen.state_dict())
    scores = ranker.score(images)
    around = nn.ModuleList([frozen]).train()  # what a careless owner does
    assert around.training
    pixels = images.clone().requires_grad_()
    optimiser = torch.optim.SGD([pixels], lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        torch.sigmoid(ranker.score(pixels)).mean().backward()
        optimiser.step()
    assert not torch.equal(pixels.detach(), images)
    assert all(parameter.grad is None for parameter in frozen.parameters())
    assert not any(module.training for module in frozen.modules())
    assert hash_tensors(frozen.state_dict()) == before
    assert torch.equal(ranker.score(images), scores)


def test_it_owns_its_weights(ranker: Ranker, network: VGG12, images: Tensor) -> None:
    scores = ranker.score(images)
    network.train()
    network(torch.rand(4, 3, 48, 48)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert torch.equal(ranker.score(images), scores)


def test_several_threads(ranker: Ranker, images: Tensor) -> None:
    expected, expected_gradient = ranker.gradient(images)
    wrong: list[str] = []

    def work() -> None:
        for _ in range(10):
            scores, gradients = ranker.gradient(images)
            if not (torch.equal(scores, expected) and torch.equal(gradients, expected_gradient)):
                wrong.append("gradient")
            if not torch.equal(ranker.score(images), expected):
                wrong.append("score")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_overshoot_is_scored_and_255_refused(ranker: Ranker, images: Tensor) -> None:
    assert not torch.equal(ranker.score(images * 1.5), ranker.score((images * 1.5).clamp(0, 1)))
    with pytest.raises(InvalidInput, match=r"\[0, 1\]"):
        ranker.score(images * 255)


def test_bad_input(ranker: Ranker, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        ranker.score(images[0])
    with pytest.raises(InvalidInput, match="shape"):
        ranker.score(images[:, :2])
    with pytest.raises(InvalidInput, match="int64"):
        ranker.score(images.long())
    with pytest.raises(InvalidInput, match="references"):
        ranker.score(images, images)
    with pytest.raises(InvalidInput, match="nan"):
        ranker.score(images.clone().fill_(float("nan")))
    with pytest.raises(ImageTooSmall, match="31 pixels"):
        ranker.score(images[:, :, :31])
    with pytest.raises(InvalidInput, match="uint8"):
        ranker.gradient(images.to(torch.uint8))
    monkeypatch.setattr(scorer_module, "MAX_PIXELS", 40 * 56 - 1)
    with pytest.raises(ImageTooLarge, match="56 x 40"):
        ranker.score(images)


def test_empty_batch(ranker: Ranker) -> None:
    with pytest.raises(InvalidInput, match="N at least 1"):
        ranker.score(torch.empty(0, 3, 64, 64))


def test_open_scorer(weights_file: Path, network: VGG12, images: Tensor) -> None:
    opened = open_scorer(f"{weights_file}?device=cpu")
    assert isinstance(opened, Ranker)
    assert opened.info.higher_is_better
    assert opened.info.parameters_hash == hash_tensors(network.state_dict())
    plain = Ranker(network, higher_is_better=True, device="cpu")
    assert torch.equal(opened.score(images), plain.score(images))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"border": "4"}, "border"),
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


def test_official_pth(network: VGG12, tmp_path: Path, images: Tensor) -> None:
    path = tmp_path / "mmsr_Ranker_NIQE.pth"
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state = {k: v for k, v in state.items() if "num_batches_tracked" not in k}  # very old files
    torch.save(state, path)
    opened = open_scorer(f"{path}?device=cpu")
    assert not opened.info.higher_is_better
    expected = Ranker(network, higher_is_better=False, device="cpu").score(images)
    assert torch.equal(opened.score(images), expected)
    assert load_ranker(path, higher_is_better=True, device="cpu").info.higher_is_better


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


def test_another_architecture(network: VGG12, tmp_path: Path) -> None:
    state = network.state_dict()
    path = tmp_path / "w.safetensors"

    def saved(tensors: dict[str, Tensor], kind: str = "ranker", arch: str = "vgg12") -> Path:
        save_weights(path, tensors, kind=kind, architecture=arch, options={"width": 4})
        return path

    with pytest.raises(InvalidCheckpoint, match="srresnet"):
        load_ranker(saved(state, "generator", "srresnet"))
    with pytest.raises(InvalidCheckpoint, match="generator"):
        open_scorer(str(saved(state, "generator", "srresnet")))
    with pytest.raises(InvalidCheckpoint, match="vgg16"):
        load_ranker(saved(state, "ranker", "vgg16"))
    with pytest.raises(InvalidCheckpoint, match="no conv0_0"):
        load_ranker(saved({"conv_first.weight": torch.zeros(64, 3, 3, 3)}))
    with pytest.raises(InvalidCheckpoint, match=r"bn3_1\.weight is \(7,\) and should be \(32,\)"):
        load_ranker(saved({**state, "bn3_1.weight": torch.zeros(7)}))
    with pytest.raises(InvalidCheckpoint, match=r"misses conv4_1\.bias"):
        load_ranker(saved({k: v for k, v in state.items() if k != "conv4_1.bias"}))
    with pytest.raises(InvalidCheckpoint, match=r"unknown linear1\.bias"):
        load_ranker(saved({**state, "linear1.bias": torch.zeros(1)}))
    with pytest.raises(InvalidCheckpoint, match="width 4 and its first layer has 2"):
        load_ranker(saved(VGG12(2).state_dict()))


def test_catalog(ranker: Ranker, images: Tensor) -> None:
    catalog = RankerCatalog({"niqe": ranker, "ma": ranker})
    assert [info.name for info in catalog.infos()] == ["niqe", "ma"]
    opened = catalog.open("ma")
    assert opened.info.name == "ma"
    assert torch.equal(opened.score(images), ranker.score(images))
    assert ranker.info.name == "ranker"
    with pytest.raises(UnknownName, match="niqe, ma"):
        catalog.open("pi")


@pytest.mark.cuda
def test_on_the_gpu(network: VGG12, images: Tensor) -> None:
    there = Ranker(network, higher_is_better=False, device="cuda")
    here = Ranker(network, higher_is_better=False, device="cpu")
    scores, gradients = there.gradient(images.cuda())
    assert scores.is_cuda
    assert gradients.is_cuda
    # Convolutions on a GPU compute in TF32 unless told otherwise: 10 bits of mantissa.
    torch.testing.assert_close(scores.cpu(), here.score(images), rtol=1e-2, atol=1e-2)
    assert there.score(images).device.type == "cpu"
