from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics.forest import (
    Forest,
    _before_rounding,
    from_r_package,
    from_scikit_learn,
)

INPUTS = (18, 45, 75)


@pytest.fixture(scope="module")
def fields(ma_mat: Path) -> list[dict[str, Any]]:
    """What the authors' file holds, as SciPy reads it."""
    cells = scipy.io.loadmat(ma_mat)["model"]["rf"][0, 0]
    structs = [cells[0, k][0, 0] for k in range(3)]
    return [{name: struct[name] for name in struct.dtype.names} for struct in structs]


def walk(fields: dict[str, Any], sample: list[float]) -> float:
    """As the authors' program does it, one node after the other."""
    total = 0.0
    trees = int(fields["ntree"][0, 0])
    for tree in range(trees):
        k = 0
        while fields["lDau"][k, tree] != 0:
            feature = sample[fields["mbest"][k, tree] - 1]
            side = "lDau" if feature <= fields["upper"][k, tree] else "rDau"
            k = fields[side][k, tree] - 1
        total += fields["avnode"][k, tree]
    return total / trees


@pytest.mark.parametrize("group", range(3))
def test_walks_as_the_published_program(fields: list[dict[str, Any]], group: int) -> None:
    forest = from_r_package(fields[group], INPUTS[group])
    samples = torch.rand(40, INPUTS[group], dtype=torch.float64) * 4
    samples[0] = torch.tensor([0.05, 0.3, 0.9, 1.5, 3.0] * 15)[: INPUTS[group]]  # the thresholds
    samples[1] = torch.nextafter(samples[0], torch.tensor(math.inf, dtype=torch.float64))
    expected = [walk(fields[group], sample) for sample in samples.tolist()]
    assert forest.predict(samples).tolist() == expected
    assert len(set(expected)) > 10
    for sample, value in zip(samples, expected, strict=True):
        assert forest.predict(sample[None]).item() == value
    assert forest.predict(samples[:0]).shape == (0,)


def stump() -> Forest:
    return Forest(
        2,
        torch.tensor([0]),
        torch.tensor([1, 0, 0], dtype=torch.int16),
        torch.tensor([0.5, 7.0, 9.0], dtype=torch.float64),
        torch.tensor([[1, 2], [1, 1], [2, 2]], dtype=torch.int32),
    )


def test_equal_to_the_threshold_goes_left() -> None:
    samples = torch.tensor([[9.0, 0.5], [0.0, 0.5000001]], dtype=torch.float64)
    assert stump().predict(samples).tolist() == [7.0, 9.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roots": torch.tensor([3])}, "a child is not behind its parent"),
        ({"roots": torch.zeros(0, dtype=torch.int64)}, "roots"),
        ({"feature": torch.tensor([2, 0, 0], dtype=torch.int16)}, "from 0 to 1 wanted, got 0 to 2"),
        ({"feature": torch.tensor([1, 0], dtype=torch.int16)}, r"shape \(3,\) wanted"),
        ({"split": torch.tensor([0.5, 7.0, 9.0])}, "split of torch.float64"),
        (
            {"children": torch.tensor([[1, 0], [1, 1], [2, 2]], dtype=torch.int32)},
            "a child is not behind its parent",
        ),
        (
            {"children": torch.tensor([[1, 3], [1, 1], [2, 2]], dtype=torch.int32)},
            "a child is not behind its parent",
        ),
    ],
)
def test_contradictions(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(stump(), **change)


def test_samples_of_another_shape() -> None:
    for samples in (torch.zeros(1, 3, dtype=torch.float64), torch.zeros(1, 2)):
        with pytest.raises(InvalidInput, match=r"float64 of the shape \(N, 2\) wanted"):
            stump().predict(samples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("upper"), "upper missing"),
        (lambda f: f.update(upper=f["upper"][:-1]), r"upper of the shape \(41, 7\) wanted"),
        (lambda f: f.update(ndtree=f["ndtree"] * 0), "ndtree from 1 to 41"),
        (lambda f: f.update(ndtree=f["ndtree"] * 99), "ndtree from 1 to 41"),
        (lambda f: f.update(rDau=f["rDau"] * 30), "not a node of its tree"),
        (lambda f: f.update(mbest=f["mbest"] + 17), "from 0 to 17 wanted"),
    ],
)
def test_damaged_files(
    fields: list[dict[str, Any]], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    damaged = dict(fields[0])
    change(damaged)
    with pytest.raises(InvalidInput, match=message):
        from_r_package(damaged, 18)


@given(st.floats(-1e6, 1e6), st.integers(-3, 3))
def test_thresholds_for_float64_decide_as_float32_does(threshold: float, steps: int) -> None:
    moved = float(_before_rounding(np.array([threshold]))[0])
    # Around the moved threshold itself, in steps of one bit, and around the original.
    for start in (moved, threshold):
        feature = start
        for _ in range(abs(steps)):
            feature = math.nextafter(feature, math.copysign(math.inf, steps))
        assert (feature <= moved) == (float(np.float32(feature)) <= threshold)


def test_equals_scikit_learn_on_float64_features() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    random = np.random.default_rng(1)
    features, wanted = random.random((150, 9)), random.random(150)
    fitted = ensemble.RandomForestRegressor(25, random_state=0).fit(features, wanted)
    forest = from_scikit_learn(fitted)
    assert forest.inputs == 9
    samples = np.concatenate([features, random.random((500, 9))])
    # Features that float32 moves across a threshold.
    thresholds = fitted.estimators_[0].tree_.threshold
    samples[:99, 0] = np.nextafter(np.float64(np.float32(thresholds[:99])), np.inf)
    np.testing.assert_array_equal(
        forest.predict(torch.from_numpy(samples)).numpy(), fitted.predict(samples)
    )
