from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special

from ranksrgan.srgan.data.degradation_kernels import GaussianKernel, SincKernel

SIZES = st.sampled_from(range(7, 22, 2))


@given(
    size=SIZES,
    sigma=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)),
    angle=st.floats(-math.pi, math.pi),
    power=st.floats(0.5, 4),
    plateau=st.booleans(),
)
def test_gaussians_follow_the_quadratic_form_of_the_inverse_covariance(
    size: int, sigma: tuple[float, float], angle: float, power: float, plateau: bool
) -> None:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.diag(np.square(sigma)) @ turn.T)
    expected = np.empty((size, size))
    for row in range(size):
        for column in range(size):
            x = np.array([column - size // 2, row - size // 2])
            form = float(x @ inverse @ x) ** power
            expected[row, column] = 1 / (1 + form) if plateau else math.exp(-form / 2)
    expected /= expected.sum()
    weights = GaussianKernel(size, sigma, angle, power, plateau).weights()
    np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(weights, weights[::-1, ::-1], rtol=1e-9)


def test_power_1_is_the_product_of_two_gaussians() -> None:
    line = np.exp(-(np.arange(-10, 11) ** 2) / (2 * 1.7**2))
    line /= line.sum()
    np.testing.assert_allclose(GaussianKernel(21, (1.7, 1.7)).weights(), np.outer(line, line))


def test_the_first_axis_turns_from_right_to_down() -> None:
    weights = GaussianKernel(9, (3.0, 0.5), angle=math.pi / 2).weights()
    assert weights[8, 4] > 100 * weights[4, 8]
    weights = GaussianKernel(9, (3.0, 0.5), angle=math.pi / 4).weights()
    assert weights[7, 7] > 100 * weights[1, 7]


@pytest.mark.parametrize(("size", "cutoff"), [(7, math.pi / 3), (21, math.pi / 5), (13, math.pi)])
def test_sinc_is_the_inverse_fourier_transform_of_a_disc(size: int, cutoff: float) -> None:
    def transformed(distance: float) -> float:
        # Of exp(i k x) over the directions of k, 2 pi J0(|k| r) is left.
        integral, _ = integrate.quad(lambda k: special.j0(k * distance) * k, 0, cutoff)
        return float(integral / (2 * math.pi))

    places = np.arange(size) - size // 2
    expected = np.array([[transformed(math.hypot(x, y)) for x in places] for y in places])
    expected /= expected.sum()
    weights = SincKernel(size, cutoff).weights()
    np.testing.assert_allclose(weights, expected, atol=1e-7)


@given(size=SIZES, cutoff=st.floats(math.pi / 5, math.pi))
def test_sinc_keeps_flat_areas(size: int, cutoff: float) -> None:
    assert SincKernel(size, cutoff).weights().sum() == pytest.approx(1)


def test_a_sinc_rings() -> None:
    """A step through the filter overshoots by about the 9 % of Gibbs."""
    weights = SincKernel(21, math.pi / 3).weights().sum(axis=0)
    step = np.convolve(np.repeat([0.0, 1.0], 40), weights, mode="valid")
    assert 1.04 < step.max() < 1.15
    assert weights.min() < 0
