"""Gradient-boosted regression trees as flat arrays: J. H. Friedman, "Greedy function approximation:
a gradient boosting machine", Annals of Statistics 29(5), 2001.

Growing them is left to scikit-learn; here they are kept, walked and told how to be grown. To score
with them no scikit-learn is needed, and their file holds arrays, no pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.checkpoint import list_keys
from ranksrgan.contracts.errors import (
    InvalidConfig,
    InvalidDataset,
    InvalidInput,
    NotSupported,
)
from ranksrgan.metrics.forest import Forest, from_scikit_learn

#: Seeds of scikit-learn are below it.
SEEDS = 2**32

#: Fewer samples make no regressor.
MIN_SAMPLES = 20

# What a regressor may say at most, so that the mean of many is finite; of opinions none says more.
_LARGEST = 1e300

# Samples for which the trees that were read have to say what the library's own do.
_COMPARED = 100

_ARRAYS = ("roots", "feature", "split", "children")


@dataclass(frozen=True, eq=False)
class Boosted:
    """A regressor: ``base + rate x (sum of the trees' values)``.

    Attributes:
        forest: the trees.
        base: what is said before any tree.
        rate: of learning.
    """

    forest: Forest
    base: float
    rate: float

    def predict(self, samples: Tensor) -> Tensor:
        """``(N,)`` float64 of ``(N, inputs)`` float64 on the CPU."""
        return self.base + self.rate * len(self.forest.roots) * self.forest.predict(samples)

    def arrays(self, prefix: str) -> dict[str, Tensor]:
        """By name, for a file; `read_boosted` takes them back."""
        line = torch.tensor([self.base, self.rate], dtype=torch.float64)
        named = {**self.forest.arrays(), "line": line}
        return {f"{prefix}.{name}": value for name, value in named.items()}


def mean_prediction(members: Sequence[Boosted], samples: Tensor) -> Tensor:
    """The mean of what regressors of the same inputs say, see `Boosted.predict`."""
    return torch.stack([member.predict(samples) for member in members]).mean(0)


def arrays_of(members: Sequence[Boosted]) -> dict[str, Tensor]:
    """The arrays of all, for one file: those of the first begin with ``member0.``, and so on."""
    named = [member.arrays(f"member{number}") for number, member in enumerate(members)]
    return {key: value for arrays in named for key, value in arrays.items()}


def read_members(tensors: Mapping[str, Tensor], count: int, inputs: int) -> list[Boosted]:
    """What `arrays_of` has named so.

    Raises:
        InvalidInput: there is something else; and as `read_boosted`.
    """
    members = [read_boosted(tensors, f"member{number}", inputs) for number in range(count)]
    own = arrays_of(members)
    unknown = [key for key in tensors if key not in own]
    if unknown:
        raise InvalidInput(f"it has unknown {list_keys(unknown)}", field=unknown[0])
    return members


def read_boosted(tensors: Mapping[str, Tensor], prefix: str, inputs: int) -> Boosted:
    """What `Boosted.arrays` has named so.

    Raises:
        InvalidInput: an array is missing, they contradict each other, or their sums are beyond
            all numbers.
    """
    names = (*_ARRAYS, "line")
    missing = [f"{prefix}.{name}" for name in names if f"{prefix}.{name}" not in tensors]
    if missing:
        raise InvalidInput(f"{missing[0]} is missing", field=missing[0])
    line = tensors[f"{prefix}.line"]
    if line.shape != (2,):
        raise InvalidInput(f"{prefix}.line: two numbers are wanted", field=f"{prefix}.line")
    forest = Forest(inputs, *(tensors[f"{prefix}.{name}"] for name in _ARRAYS))
    read = Boosted(forest, *line.tolist())
    most = abs(read.base) + abs(read.rate) * len(forest.roots) * float(forest.split.abs().max())
    if most > _LARGEST:
        raise InvalidInput(
            f"{prefix}: its values reach {most:g}, which is no prediction", field=f"{prefix}.split"
        )
    return read


def grow(
    features: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    *,
    held_out: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
    **settings: Any,
) -> Boosted:
    """Boost trees that look at every threshold there is.

    Args:
        features: ``(N, inputs)``.
        values: ``(N,)``.
        held_out: features and values by whose squared error the number of trees is chosen; None
            keeps all.
        settings: of ``sklearn.ensemble.GradientBoostingRegressor``.

    Raises:
        NotSupported: scikit-learn is not installed.
    """
    model = _ensembles().GradientBoostingRegressor(**settings).fit(features, values)
    trees = len(model.estimators_)
    if held_out is not None:
        stages = model.staged_predict(held_out[0])
        trees = 1 + int(np.argmin([np.square(said - held_out[1]).mean() for said in stages]))
    kept = SimpleNamespace(
        estimators_=model.estimators_[:trees, 0], n_features_in_=model.n_features_in_
    )
    base = float(np.asarray(model.init_.constant_).item())
    return Boosted(from_scikit_learn(kept), base, float(model.learning_rate))


def grow_by_histogram(
    features: npt.NDArray[np.float64], values: npt.NDArray[np.float64], **settings: Any
) -> Boosted:
    """Boost trees that look at 255 thresholds of each feature: for many features.

    Args:
        features: ``(N, inputs)``.
        values: ``(N,)``.
        settings: of ``sklearn.ensemble.HistGradientBoostingRegressor``.

    Raises:
        NotSupported: scikit-learn is not installed, or a version that keeps trees in another way.
    """
    model = _ensembles().HistGradientBoostingRegressor(early_stopping=False, **settings)
    model.fit(features, values)
    rows = features[:_COMPARED]
    try:
        read = _of_histogram(model)
        said = read.predict(torch.from_numpy(rows)).numpy()
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise _unreadable(str(error)) from error
    if not np.allclose(said, model.predict(rows), rtol=1e-9, atol=1e-9 * np.abs(values).max()):
        raise _unreadable("as read they say something else")
    return read


def _of_histogram(model: Any) -> Boosted:
    # Its trees have no public name; SHAP and ONNX read them in this way too.
    trees = [of_round[0].nodes for of_round in model._predictors]
    sizes = np.array([len(tree) for tree in trees])
    nodes = np.concatenate(trees)
    offsets = np.cumsum(sizes) - sizes
    leaf = nodes["is_leaf"].astype(bool)
    children = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.int64)
    children += np.repeat(offsets, sizes)[:, None]
    children[leaf] = np.arange(len(nodes))[leaf, None]
    forest = Forest(
        int(model.n_features_in_),
        torch.from_numpy(offsets.astype(np.int64)),
        torch.from_numpy(np.where(leaf, 0, nodes["feature_idx"]).astype(np.int16)),
        torch.from_numpy(np.where(leaf, nodes["value"], nodes["num_threshold"])),
        torch.from_numpy(children.astype(np.int32)),
    )
    # The values of its leaves have the rate of learning in them.
    return Boosted(forest, float(np.asarray(model._baseline_prediction).item()), 1.0)


def _unreadable(why: str) -> NotSupported:
    return NotSupported(
        f"scikit-learn {version('scikit-learn')} keeps the trees of its histograms in a way that "
        f"is not read here ({why}): install an earlier one, 1.5 or later",
        field="scikit-learn",
    )


def check_samples(features: Tensor, opinions: Tensor) -> None:
    """Whether a regressor can be fitted to ``(N, inputs)`` features and ``(N,)`` opinions.

    Raises:
        InvalidDataset: other shapes, a number that is not finite (of features as float32, which
            trees are grown in), fewer than 20 samples, or opinions that are all the same.
    """
    if features.ndim != 2 or opinions.shape != (len(features),):
        raise InvalidDataset(
            f"features of the shape (N, inputs) and opinions of (N,) wanted, got "
            f"{tuple(features.shape)} and {tuple(opinions.shape)}",
            field="features",
        )
    if not (features.float().isfinite().all() and opinions.isfinite().all()):
        raise InvalidDataset(
            "a feature or an opinion is not a finite number; features are float32, up to 3.4e38",
            field="features",
        )
    if len(features) < MIN_SAMPLES:
        raise InvalidDataset(
            f"{len(features)} images are too few: {MIN_SAMPLES} or more are needed", field="images"
        )
    if bool((opinions == opinions[0]).all()):
        raise InvalidDataset("all opinions are equal: there is nothing to learn", field="opinions")


def check_seed(seed: int) -> None:
    """Whether scikit-learn takes it.

    Raises:
        InvalidConfig: it is below 0 or above 2^32 - 1.
    """
    if not 0 <= seed < SEEDS:
        raise InvalidConfig(f"seed is {seed}; 0 to 2^32 - 1 is wanted", field="seed")


def grouped_folds(groups: Tensor, folds: int, seed: int) -> list[Tensor]:
    """Which samples each fold holds out: all of a group, or none.

    Args:
        groups: ``(N,)`` int64: whose reference.
        folds: how many; as many as there are groups if that is fewer.
        seed: of how groups are dealt to folds.

    Returns:
        Masks ``(N,)``; each sample is in one of them.

    Raises:
        InvalidDataset: there is one group alone, or so large a one that without it a single sample
            is left to learn from.
    """
    names, members = torch.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InvalidDataset(
            "all images have one reference: folds hold out whole references, two or more are "
            "needed",
            field="references",
        )
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    fold_of = torch.empty_like(order)
    fold_of[order] = torch.arange(len(names)) % min(folds, len(names))
    masks = [fold_of[members] == fold for fold in range(min(folds, len(names)))]
    largest = max(int(held_out.sum()) for held_out in masks)
    if largest > len(groups) - 2:
        raise InvalidDataset(
            f"a fold holds out {largest} of {len(groups)} images, all those of its references, and "
            "to learn from takes two: more images of the other references are needed",
            field="references",
        )
    return masks


def _ensembles() -> Any:
    try:
        return import_module("sklearn.ensemble")
    except ImportError as error:
        raise NotSupported(
            "growing trees needs scikit-learn: in the checkout, "
            "pip install 'packages/ranker[fusion]'",
            field="scikit-learn",
        ) from error
