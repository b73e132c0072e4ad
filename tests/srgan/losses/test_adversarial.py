from __future__ import annotations

import numpy as np
import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.losses import AdversarialCriterion, adversarial_loss, discriminator_loss

CRITERIA: list[AdversarialCriterion] = ["vanilla", "relativistic", "lsgan", "hinge"]
SHAPES = [(6,), (6, 1), (2, 1, 3, 4)]


def cross_entropy(logits: np.ndarray, target: float) -> float:
    """Of probabilities, as the papers write it."""
    probability = 1 / (1 + np.exp(-logits))
    return float(-(target * np.log(probability) + (1 - target) * np.log(1 - probability)).mean())


def of_generator(criterion: AdversarialCriterion, real: np.ndarray, fake: np.ndarray) -> float:
    if criterion == "vanilla":
        return cross_entropy(fake, 1)
    if criterion == "relativistic":
        first = cross_entropy(real - fake.mean(), 0)
        return 0.5 * (first + cross_entropy(fake - real.mean(), 1))
    if criterion == "lsgan":
        return float(0.5 * ((fake - 1) ** 2).mean())
    return float(-fake.mean())


def of_discriminator(criterion: AdversarialCriterion, real: np.ndarray, fake: np.ndarray) -> float:
    if criterion == "vanilla":
        return cross_entropy(real, 1) + cross_entropy(fake, 0)
    if criterion == "relativistic":
        first = cross_entropy(real - fake.mean(), 1)
        return 0.5 * (first + cross_entropy(fake - real.mean(), 0))
    if criterion == "lsgan":
        return float(0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean())
    return float(np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_values_are_those_of_the_papers(
    criterion: AdversarialCriterion, shape: tuple[int, ...]
) -> None:
    real, fake = 2 * torch.randn(shape) + 0.5, 2 * torch.randn(shape) - 0.5
    arrays = real.numpy().astype(np.float64), fake.numpy().astype(np.float64)
    generator = adversarial_loss(fake, real, criterion).item()
    assert generator == pytest.approx(of_generator(criterion, *arrays), rel=1e-5)
    discriminator = discriminator_loss(real, fake, criterion).item()
    assert discriminator == pytest.approx(of_discriminator(criterion, *arrays), rel=1e-5)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_gradients(criterion: AdversarialCriterion) -> None:
    real, fake = torch.randn(2, 4, 1, dtype=torch.float64).unbind()
    real.requires_grad_()
    fake.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: adversarial_loss(x, real, criterion), (fake,))
    assert torch.autograd.gradcheck(lambda a, b: discriminator_loss(a, b, criterion), (real, fake))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_generator_and_the_discriminator_pull_in_opposite_directions(
    criterion: AdversarialCriterion, shape: tuple[int, ...]
) -> None:
    real = torch.full(shape, 0.3, requires_grad=True)
    fake = torch.full(shape, 0.2, requires_grad=True)
    (up,) = torch.autograd.grad(adversarial_loss(fake, real, criterion), fake)
    on_real, on_fake = torch.autograd.grad(discriminator_loss(real, fake, criterion), (real, fake))
    assert bool((up < 0).all())  # a lower loss by a higher opinion of what it made
    assert bool((on_real < 0).all())
    assert bool((on_fake > 0).all())


def test_originals_are_constants_to_the_generator_and_needed_by_the_relativistic_one() -> None:
    real, fake = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    adversarial_loss(fake, real, "relativistic").backward()
    assert real.grad is None
    assert fake.grad is not None
    with pytest.raises(InvalidInput, match="give real"):
        adversarial_loss(fake, None, "relativistic")


def test_far_outputs_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4])
    for criterion in CRITERIA:
        assert adversarial_loss(far, -far, criterion).isfinite()
        assert discriminator_loss(far, -far, criterion).isfinite()
