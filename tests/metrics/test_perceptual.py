"""What LPIPS and DISTS have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from ranksrgan.contracts import DifferentiableScorer
from ranksrgan.contracts.assets import VARIABLE
from ranksrgan.contracts.cancellation import scope
from ranksrgan.contracts.errors import ImageTooLarge, InvalidInput, RequestCancelled
from ranksrgan.metrics import perceptual
from ranksrgan.metrics.dists import Dists, dists
from ranksrgan.metrics.lpips import Lpips, lpips
from ranksrgan.metrics.perceptual import PerceptualScorer

every = pytest.mark.parametrize(
    "make", [Lpips, partial(Lpips, net="squeeze"), partial(Lpips, net="vgg"), Dists]
)
Make = Callable[..., PerceptualScorer]


@pytest.fixture(autouse=True)
def assets(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(random_weights))


def pair(count: int = 2) -> tuple[Tensor, Tensor]:
    images, references = torch.rand(2, count, 3, 40, 44)
    return images, references


@every
def test_gradient_is_that_of_each_score_by_its_image(make: Make) -> None:
    scorer = make()
    assert isinstance(scorer, DifferentiableScorer)
    images, references = pair()
    scores, gradients = scorer.gradient(images, references)
    assert torch.equal(scores, scorer.score(images, references))
    assert not scores.requires_grad
    assert not gradients.requires_grad
    assert gradients.dtype == images.dtype
    assert gradients.shape == images.shape
    # The same through a loss; a factor of 4 rounds nothing.
    leaves = images.clone().requires_grad_()
    (scorer.score(leaves, references) * torch.tensor([1.0, 4.0])).sum().backward()
    assert leaves.grad is not None
    assert torch.equal(leaves.grad, gradients * torch.tensor([1.0, 4.0])[:, None, None, None])
    # Batches and single calls agree to the bit here, too.
    _, alone = scorer.gradient(images[1:], references[1:])
    assert torch.equal(alone[0], gradients[1])


@every
def test_following_the_gradient_improves_the_score(make: Make) -> None:
    scorer = make()
    images, references = pair(1)
    scores, gradients = scorer.gradient(images, references)
    step = 1e-3 * gradients / gradients.abs().max()
    better = scorer.score((images - step).clamp(0, 1), references)
    assert float(better) < float(scores)


@every
def test_references_get_a_gradient_if_they_want_one(make: Make) -> None:
    images, references = pair(1)
    references.requires_grad_()
    make().score(images, references).sum().backward()
    assert references.grad is not None
    assert float(references.grad.abs().max()) > 0


def test_grey_and_double_images_have_gradients_of_their_own_kind() -> None:
    images, references = torch.rand(2, 1, 1, 40, 40, dtype=torch.float64)
    _, gradients = Lpips().gradient(images, references)
    assert gradients.shape == images.shape
    assert gradients.dtype == torch.float64
    _, coloured = Lpips().gradient(images.expand(-1, 3, -1, -1), references.expand(-1, 3, -1, -1))
    assert torch.allclose(gradients, coloured.sum(1, keepdim=True))


def test_the_gradient_of_the_border_is_zero() -> None:
    _, gradients = Lpips(border=4).gradient(*pair(1))
    inside = gradients[..., 4:-4, 4:-4]
    assert float(inside.abs().sum()) == float(gradients.abs().sum()) > 0


def test_uint8_has_no_gradient() -> None:
    images = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    with pytest.raises(InvalidInput, match="a gradient needs floating point"):
        Lpips().gradient(images, images)
    with pytest.raises(InvalidInput, match="needs references"):
        Lpips().gradient(images.float())


@every
def test_a_gradient_of_no_tensor_is_refused(make: Make) -> None:
    image = torch.rand(1, 3, 40, 40)
    for wrong in (Image.new("RGB", (40, 40)), [image], "photo.png", image.numpy()):
        with pytest.raises(InvalidInput, match=r"^images is a .*; a torch\.Tensor \(N, C, H, W\)"):
            make().gradient(wrong, image)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"^references is a .*; a torch\.Tensor"):
            make().gradient(image, wrong)  # type: ignore[arg-type]


def test_what_overshoots_is_looked_at_as_it_is() -> None:
    images, references = pair(1)
    over = images * 1.4 - 0.2
    assert float(lpips(over, references)) != float(lpips(over.clamp(0, 1), references))
    for bad in (images * 255, images - 100, images * torch.nan, images / 0):
        with pytest.raises(InvalidInput, match=r"^images holds values from"):
            lpips(bad, references)


def test_nothing_around_a_score_changes_it() -> None:
    images, references = pair(1)
    plain = dists(images, references), lpips(images, references)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(dists(images, references), plain[0])
        assert torch.equal(lpips(images, references), plain[1])
    with torch.inference_mode():
        assert torch.equal(lpips(images, references), plain[1])


def test_networks_loaded_in_inference_mode_still_have_gradients(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in random_weights.iterdir():
        (tmp_path / file.name).symlink_to(file)  # other paths: another network
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    images, references = pair(1)
    for scorer in (Lpips(), Dists()):
        with torch.inference_mode():
            scorer.score(images, references)
            _, gradients = scorer.gradient(images.clone(), references.clone())
        leaves = images.clone().requires_grad_()
        scorer.score(leaves, references).sum().backward()
        assert leaves.grad is not None
        assert torch.allclose(leaves.grad, gradients, rtol=1e-4, atol=1e-9)


def test_each_pair_is_a_chance_to_stop() -> None:
    answers = iter([True, False])
    images, references = pair(2)
    with scope(lambda: next(answers)), pytest.raises(RequestCancelled):
        lpips(images, references)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranksrgan.metrics.perceptual.MAX_PIXELS", 40 * 40)
    image = torch.rand(1, 3, 41, 40)
    with pytest.raises(ImageTooLarge, match="41 x 40 pixels are too many for LPIPS"):
        lpips(image, image)
    assert float(lpips(image[:, :, 1:], image[:, :, 1:])) == 0
    assert float(lpips(image, image, border=1)) == 0


def test_too_large_for_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself or where the score carries it; a batch may have as many images as there is room."""
    monkeypatch.setattr(perceptual, "MAX_GRADIENT_PIXELS", 2 * 40 * 44)
    images, references = pair(3)
    large = torch.rand(1, 3, 81, 44)
    leaf = large.clone().requires_grad_()
    for measure, against in ((Lpips().gradient, large), (Lpips().score, leaf), (lpips, leaf)):
        with pytest.raises(ImageTooLarge, match="44 x 81 pixels; LPIPS has the gradient of at mo"):
            measure(against, large)
    with pytest.raises(ImageTooLarge, match="44 x 81 pixels"):
        lpips(large, leaf)
    with torch.no_grad():
        assert lpips(leaf, large) == 0
    scores, gradients = Lpips().gradient(images, references)
    leaves = images.clone().requires_grad_()
    carried = Lpips().score(leaves, references)
    carried.sum().backward()
    assert torch.equal(carried.detach(), scores)
    assert leaves.grad is not None
    torch.testing.assert_close(leaves.grad, gradients)


def test_references_of_another_kind_are_refused() -> None:
    with pytest.raises(InvalidInput, match="references"):
        Lpips().gradient(pair(3)[0], torch.tensor(1.0))


@pytest.mark.cuda
@every
def test_on_a_gpu(make: Make) -> None:
    scorer = make()
    images, references = pair()
    scores, gradients = scorer.gradient(images.cuda(), references)
    assert scores.device.type == gradients.device.type == "cuda"
    expected, slopes = scorer.gradient(images, references)
    assert torch.allclose(scores.cpu(), expected, rtol=1e-3)
    assert float((gradients.cpu() - slopes).abs().max()) < 1e-2 * float(slopes.abs().max())
