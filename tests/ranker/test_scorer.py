from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts import DifferentiableScorer, FeatureMaps, cancellation, open_scorer
from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidConfig,
    InvalidInput,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.ranker import VGG, VGG12, Ranker, RankerCatalog, open_ranker
from ranksrgan.ranker import scorer as scorer_module


@pytest.fixture
def ranker(network: VGG) -> Ranker:
    return Ranker(network, higher_is_better=False, device="cpu")


def test_scores_are_those_of_the_network(ranker: Ranker, network: VGG, images: Tensor) -> None:
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


def test_gradient_equals_finite_differences(ranker: Ranker, network: VGG, images: Tensor) -> None:
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


def test_large_batches_are_worked_on_in_parts(
    ranker: Ranker, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = ranker._network.forward

    def counted(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        return forward(batch)

    monkeypatch.setattr(ranker._network, "forward", counted)
    pairs, (first, one) = [images[:2], images[2:]], (images[:1], images[1:2])
    expected = torch.cat([ranker.score(part) for part in pairs])
    expected_gradient = torch.cat([ranker.gradient(part)[1] for part in (first, one, images[2:])])
    pixels = images.shape[2:].numel()
    monkeypatch.setattr(scorer_module, "_TOGETHER", 2 * pixels)
    monkeypatch.setattr(scorer_module, "_GRADIENTS_TOGETHER", 2 * pixels - 1)
    sizes.clear()
    assert torch.equal(ranker.score(images), expected)
    assert torch.equal(ranker.gradient(images)[1], expected_gradient)
    assert sizes == [2, 1, 1, 1, 1]
    # What carries a gradient itself is one graph.
    sizes.clear()
    ranker.score(images.clone().requires_grad_()).sum().backward()
    assert sizes == [3]


def test_a_gradient_takes_smaller_images_than_a_score(
    ranker: Ranker, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer_module, "MAX_GRADIENT_PIXELS", images.shape[2:].numel() - 1)
    assert ranker.score(images).isfinite().all()
    leaves = images.clone().requires_grad_()
    for differentiates in (ranker.gradient, ranker.score, ranker.feature_maps):
        with pytest.raises(ImageTooLarge, match="a Ranker has the gradient of at most 2239"):
            differentiates(leaves)


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


def test_it_owns_its_weights(ranker: Ranker, network: VGG, images: Tensor) -> None:
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


def test_it_shows_its_features(ranker: Ranker, network: VGG, images: Tensor) -> None:
    assert isinstance(ranker, FeatureMaps)
    leaf = images.clone().requires_grad_()
    found = ranker.feature_maps(leaf)
    expected = network.features(leaf)
    assert list(found) == [f"stage{stage}" for stage in range(5)]
    for value, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-6)
    ours, theirs = (
        torch.autograd.grad(maps.square().sum(), leaf)[0] for maps in (found["stage3"], expected[3])
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    with pytest.raises(ImageTooSmall):
        ranker.feature_maps(torch.rand(1, 3, 31, 40))


def test_statistics_of_the_batch_as_the_released_code_has_them(
    weights_file: Path, network: VGG, images: Tensor
) -> None:
    """The scores and gradients of the network in training mode; but nothing is kept of them."""
    plain = open_scorer(f"{weights_file}?device=cpu")
    ranker = open_scorer(f"{weights_file}?device=cpu&statistics=batch")
    before = plain.score(images)
    leaf, other = images.clone().requires_grad_(), images.clone().requires_grad_()
    scores = ranker.score(leaf)
    expected = network.train()(other)
    torch.testing.assert_close(scores, expected.double(), rtol=1e-4, atol=1e-5)
    assert (scores - before).abs().max() > 1e-3
    ours = torch.autograd.grad(scores.sigmoid().sum(), leaf)[0]
    theirs = torch.autograd.grad(expected.sigmoid().sum(), other)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))
    assert torch.equal(ranker.score(images), scores)
    assert torch.equal(plain.score(images), before)
    assert ranker.info.parameters_hash != plain.info.parameters_hash
    assert isinstance(ranker, DifferentiableScorer)
    with pytest.raises(InvalidInput, match="changes with all others"):
        ranker.gradient(images)
    with pytest.raises(ImageTooSmall, match="a single value"):
        ranker.score(torch.rand(1, 3, 63, 40))
    assert ranker.score(torch.rand(2, 3, 63, 40)).shape == (2,)
    with pytest.raises(InvalidInput, match="statistics is running or batch, not 'own'"):
        open_scorer(f"{weights_file}?statistics=own")


def test_catalog(ranker: Ranker, images: Tensor) -> None:
    catalog = RankerCatalog({"niqe": ranker, "ma": ranker})
    assert [info.name for info in catalog.infos()] == ["niqe", "ma"]
    opened = catalog.open("ma")
    assert opened.info.name == "ma"
    assert torch.equal(opened.score(images), ranker.score(images))
    assert ranker.info.name == "ranker"
    with pytest.raises(UnknownName, match="there is no scorer 'pi'; there is niqe, ma") as caught:
        catalog.open("pi")
    assert caught.value.field == "scorer"
    with pytest.raises(UnknownName, match=r"'p{120}'; there is niqe, ma"):
        catalog.open("p" * 200_000)  # as a client may


def test_in_bfloat16(weights_file: Path) -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    exact, near = (
        open_ranker(str(weights_file), {"device": "cpu", "precision": precision})
        for precision in ("float32", "bfloat16")
    )
    scores, slopes = exact.gradient(images)
    rough_scores, rough_slopes = near.gradient(images)
    assert not torch.equal(rough_scores, scores)
    torch.testing.assert_close(rough_scores, scores, rtol=0.05, atol=0.05)
    along = torch.nn.functional.cosine_similarity(rough_slopes.flatten(1), slopes.flatten(1))
    assert along.min() > 0.9
    with pytest.raises(InvalidConfig, match="precision=half is none of auto, float32, bfloat16"):
        open_ranker(str(weights_file), {"precision": "half"})


def test_work_that_nobody_waits_for_ends_within_the_network(ranker: Ranker, images: Tensor) -> None:
    asked = 0

    def wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 4

    with cancellation.scope(wanted), pytest.raises(RequestCancelled):
        ranker.score(images)
    assert asked == 4  # of ten convolutions


@pytest.mark.cuda
def test_on_the_gpu(network: VGG, images: Tensor) -> None:
    there = Ranker(network, higher_is_better=False, device="cuda")
    here = Ranker(network, higher_is_better=False, device="cpu")
    scores, gradients = there.gradient(images.cuda())
    assert scores.is_cuda
    assert gradients.is_cuda
    # Convolutions on a GPU compute in TF32 unless told otherwise: 10 bits of mantissa.
    torch.testing.assert_close(scores.cpu(), here.score(images), rtol=1e-2, atol=1e-2)
    assert there.score(images).device.type == "cpu"


@pytest.mark.cuda
@pytest.mark.parametrize("channels", [1, 3])
def test_repeated_calls_on_the_gpu_are_recorded_and_the_same(
    network: VGG, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    there = Ranker(network, higher_is_better=False, device="cuda")
    random = torch.Generator().manual_seed(0)
    for number in range(8):
        images = torch.rand(3, channels, 48, 40, generator=random)
        if number % 2:
            images = images.cuda()
        leaf = images.clone().requires_grad_()
        expected = there.score(leaf)  # with a graph, which is never recorded
        (wanted,) = torch.autograd.grad(expected.sum(), leaf)
        with torch.inference_mode():
            scores, gradients = there.gradient(images)
            alone = there.score(images)
        assert scores.device == gradients.device == alone.device == images.device
        assert torch.equal(scores, expected)
        assert torch.equal(gradients, wanted)
        assert torch.equal(alone, expected)
    with pytest.raises(InvalidInput, match="reach from nan"):
        there.gradient(torch.full((3, channels, 48, 40), float("nan"), device="cuda"))
    with pytest.raises(InvalidInput, match="no references"):
        there.gradient(images, images)
