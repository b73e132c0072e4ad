from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import DifferentiableScorer, cancellation
from ranksrgan.contracts.errors import (
    ImageTooSmall,
    InvalidInput,
    RequestCancelled,
    UndefinedScore,
)
from ranksrgan.metrics.differentiable_niqe import DifferentiableNiqe, differentiable_niqe
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.niqe import Niqe, niqe
from ranksrgan.metrics.niqe_model import NiqeModel

Load = Callable[[str], Tensor]


@pytest.fixture
def image(photograph: Load) -> Tensor:
    """A part of a photograph, with noise far below a level that takes it off whole levels."""
    part = photograph("astronaut")[..., 100:292, 150:342].double() / 255
    return part * 0.98 + 0.01 + 1e-3 * torch.rand_like(part)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("camera", 0.01), ("grass", 0.01), ("astronaut", 0.04), ("coffee", 0.04)],
)
@pytest.mark.parametrize("luma", ["y", "gray"])
def test_it_is_a_neighbour_of_niqe(
    photograph: Load, name: str, tolerance: float, luma: str
) -> None:
    image = photograph(name)
    for border in (0, 4):
        score = differentiable_niqe(image, border, luma)
        assert score.dtype == torch.float64
        expected = float(niqe(image, border, luma))
        assert float(score) == pytest.approx(expected, abs=tolerance)


def test_whole_levels_of_one_channel_differ_by_the_table_alone(photograph: Load) -> None:
    image = photograph("camera")
    assert float(differentiable_niqe(image)) == pytest.approx(float(niqe(image)), abs=1e-3)


@pytest.mark.parametrize("luma", ["y", "gray"])
def test_gradient_against_differences(image: Tensor, luma: Convention) -> None:
    scorer = DifferentiableNiqe(luma=luma)
    _, gradient = scorer.gradient(image)
    # Steps so small that no value changes its sign, where the function jumps.
    step = 1e-9
    for _ in range(3):
        direction = torch.randn_like(image)
        above, below = (float(scorer.score(image + side * direction)) for side in (step, -step))
        expected = float((gradient * direction).sum())
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_gradient_of_one_pixel(image: Tensor) -> None:
    _, gradient = DifferentiableNiqe().gradient(image)
    step = 1e-7
    for channel, y, x in ((0, 0, 0), (1, 95, 96), (2, 191, 100), (1, 50, 30)):
        change = torch.zeros_like(image)
        change[0, channel, y, x] = step
        above, below = (float(differentiable_niqe(image + side * change)) for side in (1, -1))
        expected = float(gradient[0, channel, y, x])
        assert (above - below) / (2 * step) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_step_against_the_gradient_lowers_the_score(photograph: Load) -> None:
    image = photograph("camera")[..., :192, :192].double() / 255
    scorer = DifferentiableNiqe()
    noisy = (image + 0.1 * torch.randn_like(image)).clamp(0, 1)
    before, gradient = scorer.gradient(noisy)
    after = noisy - 0.3 * gradient / gradient.norm()
    assert float(niqe(after.clamp(0, 1))) < float(before) - 0.1


def test_pixels_that_are_not_seen_have_no_gradient(image: Tensor) -> None:
    larger = torch.nn.functional.pad(image, (5, 90, 5, 7), value=0.5)
    scores, gradients = DifferentiableNiqe(border=5).gradient(larger)
    inside = gradients[..., 5:-7, 5:-90]
    assert torch.equal(scores, differentiable_niqe(image))
    assert torch.equal(inside, DifferentiableNiqe().gradient(image)[1])
    gradients[..., 5:-7, 5:-90] = 0
    assert torch.equal(gradients, torch.zeros_like(gradients))


def test_batches_sequences_and_single_calls_agree_to_the_bit(image: Tensor) -> None:
    images = torch.cat([image, image.flip(3)])
    scores, gradients = DifferentiableNiqe().gradient(images)
    for k in range(2):
        score, gradient = DifferentiableNiqe().gradient(images[k : k + 1])
        assert torch.equal(score, scores[k : k + 1])
        assert torch.equal(gradient, gradients[k : k + 1])
    assert torch.equal(differentiable_niqe([images[1], images[0]]), scores.flip(0))


def test_the_number_of_threads_does_not_matter(image: Tensor) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = DifferentiableNiqe().gradient(image)
        torch.set_num_threads(3)
        together = DifferentiableNiqe().gradient(image)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together[0], alone[0])
    torch.testing.assert_close(together[1], alone[1], rtol=1e-12, atol=0)


def test_a_flat_block_has_the_features_that_niqe_gives_it() -> None:
    image = torch.full((1, 1, 96, 384), 0.5, dtype=torch.float64)
    image[..., : 96 * 3 - 16] = (torch.rand(96, 96 * 3 - 16) * 255).round() / 255
    scores, gradient = DifferentiableNiqe(luma="gray").gradient(image)
    # Far from natural images, the table's steps weigh more; a block left out would weigh most.
    assert float(scores) == pytest.approx(float(niqe(image)), rel=5e-3)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[..., : 96 * 3 - 16] != 0).any())


def test_flat_images_have_no_score() -> None:
    images = torch.rand(2, 3, 96, 192)
    images[1] = 0.5
    with pytest.raises(UndefinedScore, match="image 1 is too flat for NIQE: only 0 of its 2"):
        differentiable_niqe(images)


def test_scorer(image: Tensor) -> None:
    scorer = DifferentiableNiqe(border=4, luma="gray")
    assert isinstance(scorer, DifferentiableScorer)
    info = scorer.info
    assert info.name == "niqe?border=4&luma=gray&gradient=true"
    assert DifferentiableNiqe().info.name == "niqe?gradient=true"
    assert info.differentiable
    assert not info.higher_is_better
    assert info.min_side == 104
    assert info.parameters_hash == Niqe().info.parameters_hash
    tracked = image[..., :104, :].clone().requires_grad_()
    with pytest.raises(ImageTooSmall):
        scorer.score(tracked[..., :103, :])
    score = DifferentiableNiqe().score(tracked)
    (gradient,) = torch.autograd.grad(score.sum(), tracked)
    assert torch.equal(gradient, DifferentiableNiqe().gradient(tracked)[1])
    with torch.inference_mode():
        assert torch.equal(DifferentiableNiqe().gradient(tracked)[1], gradient)
    assert not DifferentiableNiqe().score(tracked.detach()).requires_grad


def test_gradients_have_the_type_of_the_images(image: Tensor) -> None:
    _, gradient = DifferentiableNiqe().gradient(image.float())
    assert gradient.dtype == torch.float32
    _, exact = DifferentiableNiqe().gradient(image.float().double())
    assert torch.equal(gradient, exact.float())


def test_bytes_are_scored_and_have_no_gradient(photograph: Load) -> None:
    image = photograph("coffee")[..., :96, :192]
    assert torch.equal(differentiable_niqe(image), differentiable_niqe(image.double() / 255))
    with pytest.raises(InvalidInput, match="a gradient needs floating point"):
        DifferentiableNiqe().gradient(image)


def test_another_model() -> None:
    image = torch.rand(1, 3, 96, 192)
    published = NiqeModel.published()
    other = NiqeModel(published.mean + 1, published.covariance)
    assert torch.equal(
        DifferentiableNiqe(model=other).score(image), differentiable_niqe(image, model=other)
    )
    assert float(differentiable_niqe(image, model=other)) != float(differentiable_niqe(image))


def test_what_niqe_refuses() -> None:
    with pytest.raises(InvalidInput, match="references"):
        DifferentiableNiqe().score(torch.rand(1, 3, 96, 192), torch.rand(1, 3, 96, 192))
    with pytest.raises(InvalidInput, match="values from"):
        differentiable_niqe(torch.rand(1, 3, 96, 192) * 255)
    with pytest.raises(InvalidInput):
        DifferentiableNiqe(border=-1)
    with pytest.raises(InvalidInput):
        DifferentiableNiqe(luma="Y")  # type: ignore[arg-type]


def test_it_stops_between_images_when_nobody_waits() -> None:
    answers = iter([True, False])
    with cancellation.scope(lambda: next(answers)), pytest.raises(RequestCancelled):
        differentiable_niqe(torch.rand(3, 1, 96, 192))


@pytest.mark.cuda
def test_cuda_agrees(image: Tensor) -> None:
    scores, gradient = DifferentiableNiqe().gradient(image.cuda())
    expected = DifferentiableNiqe().gradient(image)
    torch.testing.assert_close(scores.cpu(), expected[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient.cpu(), expected[1], rtol=1e-5, atol=1e-8)
