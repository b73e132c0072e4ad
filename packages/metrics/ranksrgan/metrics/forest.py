"""Random forests for regression as flat arrays.

L. Breiman, "Random forests", Machine Learning 45, 2001. Growing them is left to scikit-learn, or
was done by the authors of a metric; here they are read, kept and walked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Forest:
    """T trees; the M nodes of all trees lie one after the other, a child after its parent.

    Attributes:
        inputs: how many features a sample has.
        roots: ``(T,)`` int64, the first node of each tree.
        feature: ``(M,)`` int16, which feature decides; any at a leaf.
        split: ``(M,)`` float64, the threshold of that feature; at a leaf, the tree's value.
        children: ``(M, 2)`` int32, the next node where the feature is at most the threshold and
            where it is above; at a leaf, twice the leaf itself.

    Raises:
        InvalidInput: the arrays contradict each other.
    """

    inputs: int
    roots: Tensor
    feature: Tensor
    split: Tensor
    children: Tensor

    def __post_init__(self) -> None:
        nodes = len(self.split)
        for name, shape, dtype in (
            ("roots", (len(self.roots),), torch.int64),
            ("feature", (nodes,), torch.int16),
            ("split", (nodes,), torch.float64),
            ("children", (nodes, 2), torch.int32),
        ):
            array: Tensor = getattr(self, name)
            if array.shape != shape or array.dtype != dtype or array.numel() == 0:
                raise InvalidInput(
                    f"forest: {name} of {dtype} and the shape {shape} wanted, got {array.dtype} "
                    f"and {tuple(array.shape)}",
                    field=name,
                )
        own = torch.arange(nodes, dtype=torch.int32)[:, None]
        leaf = (self.children == own).all(dim=1, keepdim=True)
        # Children come later, so that every walk ends.
        sound = ((self.children > own) | leaf).all() and self.children.max() < nodes
        if not sound or self.roots.min() < 0 or self.roots.max() >= nodes:
            raise InvalidInput("forest: a child is not behind its parent", field="children")
        if self.feature.min() < 0 or self.feature.max() >= self.inputs:
            raise InvalidInput(
                f"forest: features from 0 to {self.inputs - 1} wanted, got "
                f"{int(self.feature.min())} to {int(self.feature.max())}",
                field="feature",
            )

    def predict(self, samples: Tensor) -> Tensor:
        """Mean of the trees' values, added in the order of the trees.

        Args:
            samples: ``(N, inputs)`` float64 on the CPU.

        Returns:
            ``(N,)`` float64.

        Raises:
            InvalidInput: another shape or type.
        """
        if samples.ndim != 2 or samples.shape[1] != self.inputs or samples.dtype != torch.float64:
            raise InvalidInput(
                f"samples: float64 of the shape (N, {self.inputs}) wanted, got {samples.dtype} of "
                f"{tuple(samples.shape)}",
                field="samples",
            )
        nodes = self.roots.expand(len(samples), -1)
        children = self.children.flatten()
        while True:
            above = samples.gather(1, self.feature[nodes].long()) > self.split[nodes]
            following = children[2 * nodes + above].long()
            if torch.equal(following, nodes):  # all are at leaves
                break
            nodes = following
        # A running sum: a plain one would add in another order.
        return self.split[nodes].cumsum(dim=1)[:, -1] / len(self.roots)

    def arrays(self) -> dict[str, Tensor]:
        """By name, for a file; `Forest` takes them back."""
        return {
            "roots": self.roots,
            "feature": self.feature,
            "split": self.split,
            "children": self.children,
        }


def from_r_package(fields: Mapping[str, npt.NDArray[Any]], inputs: int) -> Forest:
    """A forest of the R package randomForest, as its MATLAB port lays it out.

    Args:
        fields: ``(nodes, trees)`` each: ``lDau`` and ``rDau``, the children, and ``mbest``, the
            feature, all counted from 1 (0 at leaves); ``upper``, the threshold; ``avnode``, the
            mean of a node. ``ndtree``: how many nodes of each tree are used.
        inputs: how many features a sample has.

    Raises:
        InvalidInput: a field is missing, or they contradict each other.
    """
    wanted = ("lDau", "rDau", "mbest", "upper", "avnode", "ndtree")
    missing = [name for name in wanted if name not in fields]
    if missing:
        raise InvalidInput(f"forest: {', '.join(missing)} missing", field=missing[0])
    counts = np.asarray(fields["ndtree"]).ravel().astype(np.int64)
    rows = len(np.atleast_2d(fields["lDau"]))
    for name in wanted[:-1]:
        shape = np.atleast_2d(fields[name]).shape
        if shape != (rows, len(counts)):
            raise InvalidInput(
                f"forest: {name} of the shape {(rows, len(counts))} wanted, got {shape}", field=name
            )
    if counts.size == 0 or counts.min() < 1 or counts.max() > rows:
        raise InvalidInput(f"forest: ndtree from 1 to {rows} wanted", field="ndtree")

    used = np.arange(rows) < counts[:, None]  # (trees, nodes)

    def flat(name: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = np.atleast_2d(fields[name]).T[used]
        return values

    roots = np.concatenate([[0], np.cumsum(counts)[:-1]])
    own = np.arange(counts.sum())
    children = np.stack([flat("lDau"), flat("rDau")], axis=1).astype(np.int64)
    leaf = children[:, 0] == 0
    within = (children > 0) & (children <= np.repeat(counts, counts)[:, None])
    if not within[~leaf].all():
        raise InvalidInput("forest: a child is not a node of its tree", field="lDau")
    children += np.repeat(roots, counts)[:, None] - 1
    children[leaf] = own[leaf, None]
    feature = np.where(leaf, 0, flat("mbest").astype(np.int64) - 1)
    split = np.where(leaf, flat("avnode"), flat("upper"))
    return _forest(inputs, roots, feature, split, children)


def from_scikit_learn(forest: Any) -> Forest:
    """A fitted ``sklearn.ensemble.RandomForestRegressor`` of one output.

    It compares in float32, this in float64: the thresholds are moved to where the rounding of a
    feature to float32 would change sides, so that both take the same way with any feature.
    """
    parts = []
    offset = 0
    for estimator in forest.estimators_:
        tree = estimator.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        children = np.stack([tree.children_left, tree.children_right], axis=1).astype(np.int64)
        children[leaf] = own[leaf, None]
        feature = np.where(leaf, 0, tree.feature)
        split = np.where(leaf, tree.value[:, 0, 0], _before_rounding(tree.threshold))
        parts.append((offset, feature, split, children + offset))
        offset += tree.node_count
    roots, features, splits, childrens = zip(*parts, strict=True)
    return _forest(
        int(forest.n_features_in_),
        np.array(roots),
        np.concatenate(features),
        np.concatenate(splits),
        np.concatenate(childrens),
    )


def _before_rounding(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest float64 that, rounded to float32, is at most the threshold."""
    nearest = thresholds.astype(np.float32)
    below = np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    above = np.nextafter(below, np.float32(np.inf))
    middle = (below.astype(np.float64) + above.astype(np.float64)) / 2
    # Exactly between the two, the one with an even last bit is taken.
    even = below.view(np.int32) % 2 == 0
    return np.where(even, middle, np.nextafter(middle, -np.inf))


def _forest(
    inputs: int,
    roots: npt.NDArray[Any],
    feature: npt.NDArray[Any],
    split: npt.NDArray[Any],
    children: npt.NDArray[Any],
) -> Forest:
    return Forest(
        inputs,
        torch.from_numpy(roots.astype(np.int64)),
        torch.from_numpy(feature.astype(np.int16)),
        torch.from_numpy(split.astype(np.float64)),
        torch.from_numpy(children.astype(np.int32)),
    )
