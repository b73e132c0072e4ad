"""Training a model of Ma on images that people have scored.

As in the paper (see `scorer`): a random forest for each group of features, with the
settings of the authors' software (2000 trees, a third of the features tried at each split, nodes of
five samples or fewer not split), and a linear regression of the scores on the forests' predictions
that outliers do not sway. Those predictions are taken out of bag, from the trees that did not see
an image: within the bag they would be nearly the scores themselves, whatever a group is worth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ranksrgan.contracts.errors import ImageTooSmall, InvalidConfig, InvalidDataset, NotSupported
from ranksrgan.contracts.images import list_images, read_image, to_tensor
from ranksrgan.metrics.forest import from_scikit_learn
from ranksrgan.metrics.luma import Convention
from ranksrgan.metrics.ma.model import FEATURES, GROUPS, MaModel
from ranksrgan.metrics.ma.scorer import ma_features
from ranksrgan.metrics.score_table import read_scores

TREES = 2000

#: Fewer images make no forest.
MIN_IMAGES = 20

# With so many trees every image is out of the bag of one, but for a chance of 4e-7.
_MIN_TREES = 32
_NODE_SIZE = 5

# Each forest has the next seed, and those of scikit-learn are of 32 bits.
_MAX_SEED = 2**32 - len(GROUPS)


def fit_ma(
    images: Path,
    scores: Path,
    *,
    border: int = 0,
    luma: Convention = "y",
    trees: int = TREES,
    seed: int = 0,
) -> MaModel:
    """Train a model; shows its progress on a terminal.

    Args:
        images: a folder.
        scores: a table with the column ``score``, a number that is the higher the better (the
            authors: 0 to 10), as `read_scores` reads it: images are known by their file names.
        border: pixels to leave out on every side.
        luma: ``"y"`` or ``"gray"``.
        trees: in each forest.
        seed: of all chance, 0 to 2**32 - 3; the same seed and images give the same model.

    Raises:
        NotSupported: scikit-learn is not installed.
        InvalidDataset: the table is not as described (names the line), an image of it is not in
            the folder or there with two suffixes, too few images, or scores that are all equal.
        InvalidInput: ``images`` is no folder with images.
        InvalidImage, ImageTooSmall: of an image; names it.
        InvalidConfig: too few trees, or a seed out of its range.
    """
    _check_forests(trees, seed)  # as the next one, before an hour of work
    _regressor()
    rows = _scored_files(images, scores)
    wanted = torch.tensor([score for _, score in rows], dtype=torch.float64)
    _check_scores(wanted)
    features = []
    for path, _ in tqdm(rows, unit="image", disable=None, leave=False):
        try:
            features.append(ma_features(to_tensor(read_image(path)), border, luma))
        except ImageTooSmall as error:
            raise ImageTooSmall(f"{path}: {error}", field=str(path)) from error
    model = fit_features(
        torch.cat(features),
        wanted,
        trees=trees,
        seed=seed,
    )
    about = {**model.about, "border": border, "luma": luma}
    return MaModel(model.forests, model.linear, about)


def fit_features(features: Tensor, scores: Tensor, *, trees: int = TREES, seed: int = 0) -> MaModel:
    """Train a model on features that are already there.

    Args:
        features: ``(N, 138)`` float64, of `ma_features`.
        scores: ``(N,)`` float64, the higher the better.
        trees: in each forest.
        seed: of all chance, 0 to 2**32 - 3.

    Raises:
        NotSupported: scikit-learn is not installed.
        InvalidDataset: another shape, a number that is not finite, fewer than 20 images, or scores
            that are all equal.
        InvalidConfig: fewer than 32 trees, or a seed out of its range.
    """
    _check_forests(trees, seed)
    if features.shape != (len(scores), FEATURES) or scores.shape != (len(features),):
        raise InvalidDataset(
            f"features of the shape (N, {FEATURES}) and scores of (N,) wanted, got "
            f"{tuple(features.shape)} and {tuple(scores.shape)}",
            field="features",
        )
    if not (features.isfinite().all() and scores.isfinite().all()):
        raise InvalidDataset("a feature or a score is not a finite number", field="features")
    _check_count(len(scores))
    _check_scores(scores)
    regressor = _regressor()
    wanted = scores.double().cpu().numpy()
    forests, predictions = [], []
    for number, group in enumerate(torch.split(features.double().cpu(), list(GROUPS), dim=1)):
        fitted = regressor(
            n_estimators=trees,
            max_features=max(1, group.shape[1] // 3),
            min_samples_split=_NODE_SIZE + 1,
            oob_score=True,
            random_state=seed + number,
        ).fit(group.numpy(), wanted)
        forests.append(from_scikit_learn(fitted))
        predictions.append(fitted.oob_prediction_)
    linear = robust_regression(np.stack(predictions, axis=1), wanted)
    about = {"images": len(scores), "trees": trees, "seed": seed}
    return MaModel(tuple(forests), torch.from_numpy(linear), about)


def robust_regression(
    predictors: npt.NDArray[np.float64], responses: npt.NDArray[np.float64]
) -> npt.NDArray[np.floating]:
    """Linear regression with a constant that gives outliers less weight.

    P. W. Holland, R. E. Welsch, "Robust regression using iteratively reweighted least-squares",
    Communications in Statistics 6(9), 1977, with the defaults of MATLAB's ``robustfit``: bisquare
    weights with the constant 4.685, residuals adjusted for leverage, and their scale from the
    median absolute residual, the P smallest left out.

    Args:
        predictors: ``(N, P)``.
        responses: ``(N,)``.

    Returns:
        ``(P + 1,)``, the constant first.
    """
    tuning, iterations = 4.685, 50
    design = np.column_stack([np.ones(len(predictors)), predictors])
    orthonormal, _ = np.linalg.qr(design)
    leverage = np.minimum(np.square(orthonormal).sum(axis=1), 0.9999)
    smallest = 1e-6 * responses.std(ddof=1) or 1.0  # residuals of an exact fit
    coefficients = np.linalg.lstsq(design, responses)[0]
    for _ in range(iterations):
        residuals = (responses - design @ coefficients) / np.sqrt(1 - leverage)
        scale = np.median(np.sort(np.abs(residuals))[design.shape[1] - 1 :]) / 0.6745
        distances = residuals / (tuning * max(scale, smallest))
        roots = np.where(np.abs(distances) < 1, 1 - np.square(distances), 0.0)
        before = coefficients
        coefficients = np.linalg.lstsq(design * roots[:, None], responses * roots)[0]
        change = np.abs(coefficients - before)
        size = np.maximum(np.abs(coefficients), np.abs(before))
        if (change <= math.sqrt(np.finfo(float).eps) * size).all():
            break
    return coefficients


def _check_forests(trees: int, seed: int) -> None:
    if trees < _MIN_TREES:
        raise InvalidConfig(f"{trees} trees are too few: {_MIN_TREES} or more", field="trees")
    if not 0 <= seed <= _MAX_SEED:
        raise InvalidConfig(f"the seed {seed} is not from 0 to {_MAX_SEED}", field="seed")


def _check_count(images: int) -> None:
    if images < MIN_IMAGES:
        raise InvalidDataset(
            f"{images} images are too few: {MIN_IMAGES} or more are needed", field="scores"
        )


def _check_scores(scores: Tensor) -> None:
    if bool((scores == scores[0]).all()):
        raise InvalidDataset(
            f"all {len(scores)} scores are {float(scores[0]):g}: there is nothing to learn",
            field="scores",
        )


def _scored_files(folder: Path, table: Path) -> list[tuple[Path, float]]:
    """The image files of a folder that a table has scores of, in its order."""
    scores = read_scores(table, "score")
    _check_count(len(scores))
    files: dict[str, list[Path]] = defaultdict(list)
    for path in list_images(folder):
        files[path.stem].append(path)
    for name in scores:
        if len(files[name]) != 1:
            found = ", ".join(path.name for path in files[name]) or "none of that name"
            raise InvalidDataset(
                f"{table} scores {name}; one such image is wanted in {folder}, and there "
                f"is {found}",
                field=str(table),
            )
    return [(files[name][0], score) for name, score in scores.items()]


def _regressor() -> Callable[..., Any]:
    try:
        ensemble = import_module("sklearn.ensemble")
    except ImportError as error:
        raise NotSupported(
            "fitting a Ma model needs scikit-learn: in the checkout, "
            "pip install 'packages/metrics[fit]'",
            field="scikit-learn",
        ) from error
    regressor: Callable[..., Any] = ensemble.RandomForestRegressor
    return regressor
