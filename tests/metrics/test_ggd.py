from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma

from ranksrgan.metrics.ggd import ggd_shape

SHAPES = np.arange(30, 10001) / 1000
RATIOS = gamma(1 / SHAPES) * gamma(3 / SHAPES) / gamma(2 / SHAPES) ** 2


def shape_of(ratio: float) -> float:
    return float(ggd_shape(torch.tensor(ratio, dtype=torch.float64)))


@given(st.floats(0, 1e4))
def test_it_is_the_nearest_of_the_table(ratio: float) -> None:
    found = np.flatnonzero(shape_of(ratio) == SHAPES)
    assert len(found) == 1
    distances = np.abs(RATIOS - ratio)
    assert distances[found[0]] == pytest.approx(distances.min(), rel=1e-9, abs=1e-12)


def test_of_two_as_near_the_smaller_shape() -> None:
    ratios = [math.gamma(1 / g) * math.gamma(3 / g) / math.gamma(2 / g) ** 2 for g in SHAPES]
    ties = 0
    for shape, above, below in zip(SHAPES, ratios, ratios[1:], strict=False):
        middle = (above + below) / 2
        if above - middle == middle - below:  # it is a number
            assert shape_of(middle) == shape
            ties += 1
    assert ties > 10


def test_known_distributions() -> None:
    assert shape_of(2.0) == 1.0  # Laplace
    assert shape_of(math.pi / 2) == 2.0  # Gauss
    assert shape_of(4 / 3) == 10.0  # uniform: beyond the table
    assert shape_of(0.0) == 10.0  # a constant
    assert shape_of(1e300) == 0.03


def test_any_shape_of_tensor() -> None:
    ratios = torch.tensor([[2.0, math.pi / 2, 0.0]], dtype=torch.float64)
    assert ggd_shape(ratios.T).tolist() == [[1.0], [2.0], [10.0]]
    assert ggd_shape(ratios[:, :0]).shape == (1, 0)
