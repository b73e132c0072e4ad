from __future__ import annotations

import numpy as np
import pytest
import sklearn
import torch
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

from ranksrgan.contracts.errors import InvalidDataset, InvalidInput, NotSupported
from ranksrgan.ranker.quality.boosting import (
    check_samples,
    grouped_folds,
    grow,
    grow_by_histogram,
    read_boosted,
)


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 4))
    return features, features[:, 0] * features[:, 1] + np.abs(features[:, 2])


def test_trees_say_what_scikit_learn_says(samples: tuple[np.ndarray, np.ndarray]) -> None:
    settings = {"n_estimators": 20, "max_depth": 3, "subsample": 0.7, "random_state": 3}
    boosted = grow(*samples, **settings)
    wanted = GradientBoostingRegressor(**settings).fit(*samples).predict(samples[0])
    assert np.allclose(boosted.predict(torch.from_numpy(samples[0])), wanted, atol=1e-12)


def test_histogram_trees_say_what_scikit_learn_says(
    samples: tuple[np.ndarray, np.ndarray],
) -> None:
    settings = {"max_iter": 20, "max_leaf_nodes": 8, "min_samples_leaf": 3, "random_state": 3}
    boosted = grow_by_histogram(*samples, **settings)
    model = HistGradientBoostingRegressor(early_stopping=False, **settings).fit(*samples)
    others = np.random.default_rng(1).normal(size=(50, 4))
    assert np.allclose(boosted.predict(torch.from_numpy(others)), model.predict(others), atol=1e-12)


def test_histogram_trees_that_cannot_be_read_are_refused(
    samples: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a scikit-learn that is to come: what is read of it has no public name."""

    class Renamed(HistGradientBoostingRegressor):
        def fit(self, *samples: np.ndarray) -> Renamed:
            super().fit(*samples)
            del self._predictors
            return self

    class Shifted(HistGradientBoostingRegressor):
        def predict(self, rows: np.ndarray) -> np.ndarray:
            return super().predict(rows) + 1e-6

    for kind, why in ((Renamed, "no attribute '_predictors'"), (Shifted, "say something else")):
        monkeypatch.setattr("sklearn.ensemble.HistGradientBoostingRegressor", kind)
        with pytest.raises(NotSupported, match=why) as caught:
            grow_by_histogram(*samples, max_iter=3)
        assert f"scikit-learn {sklearn.__version__} keeps" in str(caught.value)


def test_held_out_samples_choose_the_number_of_trees(
    samples: tuple[np.ndarray, np.ndarray],
) -> None:
    features, _ = samples
    noise = np.random.default_rng(2).normal(size=120)
    boosted = grow(
        features[:80],
        noise[:80],
        held_out=(features[80:], noise[80:]),
        n_estimators=100,
        random_state=0,
    )
    assert 1 <= len(boosted.forest.roots) < 100


def test_arrays_come_back(samples: tuple[np.ndarray, np.ndarray]) -> None:
    boosted = grow_by_histogram(*samples, max_iter=3)
    arrays = boosted.arrays("one")
    again = read_boosted(arrays, "one", 4)
    rows = torch.from_numpy(samples[0])
    assert torch.equal(again.predict(rows), boosted.predict(rows))
    with pytest.raises(InvalidInput, match=r"two\.roots is missing"):
        read_boosted(arrays, "two", 4)
    with pytest.raises(InvalidInput, match="two numbers"):
        read_boosted({**arrays, "one.line": torch.ones(3)}, "one", 4)
    with pytest.raises(InvalidInput, match="features from 0 to 1"):
        read_boosted(arrays, "one", 2)


def test_no_reference_is_on_both_sides_of_a_fold() -> None:
    groups = torch.tensor([3, 3, 9, 9, 9, 1, 4, 4, 7, 3])
    folds = grouped_folds(groups, 3, seed=0)
    assert len(folds) == 3
    assert torch.stack(folds).sum(0).tolist() == [1] * 10
    for held_out in folds:
        assert not set(groups[held_out].tolist()) & set(groups[~held_out].tolist())
        assert bool(held_out.any())
    assert len(grouped_folds(groups, 9, seed=0)) == 5
    assert all(
        torch.equal(one, other)
        for one, other in zip(folds, grouped_folds(groups, 3, seed=0), strict=True)
    )
    with pytest.raises(InvalidDataset, match="one reference"):
        grouped_folds(torch.zeros(8, dtype=torch.int64), 3, seed=0)
    uneven = torch.tensor([0] * 19 + [1] * 2)
    assert sorted(int(fold.sum()) for fold in grouped_folds(uneven, 5, seed=0)) == [2, 19]
    with pytest.raises(InvalidDataset, match=r"holds out 19 of 20 images, .* takes two"):
        grouped_folds(uneven[:20], 5, seed=0)


@pytest.mark.parametrize(
    ("features", "opinions", "message"),
    [
        (torch.rand(30, 2), torch.rand(29), "of \\(N,\\) wanted"),
        (torch.rand(30, 2).log() * torch.inf, torch.rand(30), "finite"),
        (torch.full((30, 2), 1e39, dtype=torch.float64), torch.rand(30), r"float32, up to 3\.4e38"),
        (torch.rand(1, 2), torch.rand(1), "1 images are too few"),
        (torch.rand(30, 2), torch.ones(30), "all opinions are equal"),
    ],
)
def test_samples_that_teach_nothing(
    features: torch.Tensor, opinions: torch.Tensor, message: str
) -> None:
    with pytest.raises(InvalidDataset, match=message):
        check_samples(features, opinions)
