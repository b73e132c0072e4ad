"""Pictures of how scores and metric are distributed, as PNG bytes."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.polynomial import Polynomial
from torch import Tensor

from ranksrgan.ranker.calibration import Calibration
from ranksrgan.ranker.predictions import Predictions

# More colours than this nobody tells apart; then all levels are drawn as one.
_MOST_LEVELS = 10


def histograms(name: str, predictions: Predictions) -> bytes:
    """The distribution of the metric and of the scores at each level: figures 13 and 14. What is
    infinite is left out.

    Args:
        name: of the scorer.
        predictions: what it says.
    """
    figure = Figure(figsize=(10, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _histogram(left, predictions, predictions.truth)
    _histogram(right, predictions, predictions.predicted)
    left.set(title=predictions.metric, xlabel=predictions.metric, ylabel="images")
    right.set(title=name, xlabel=score_label(predictions))
    figure.legend(*right.get_legend_handles_labels(), loc="outside right upper")
    return _png(figure)


def scatter(name: str, predictions: Predictions, calibration: Calibration) -> bytes:
    """Every image that was calibrated, by its score and the metric, with the two fits.

    Args:
        name: of the scorer.
        predictions: what it says.
        calibration: of its scores.
    """
    figure = Figure(figsize=(10, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    size = max(2.0, min(16.0, 3e4 / predictions.truth.numel()))
    finite = predictions.predicted.isfinite() & predictions.truth.isfinite()
    for label, colour, rows in _series(predictions):
        both = (predictions.predicted, predictions.truth)
        x, y = (values[rows & finite].numpy() for values in both)
        axes.scatter(x, y, s=size, color=colour, alpha=0.6, linewidths=0, label=label)
    predicted = predictions.predicted[finite]
    x = np.linspace(float(predicted.min()), float(predicted.max()), 200)
    for fit, rmse, coefficients, style in (
        ("line", calibration.rmse, calibration.line, "-"),
        ("third order", calibration.cubic_rmse, calibration.cubic, "--"),
    ):
        label = f"{fit}: RMSE {rmse:.3f}"
        axes.plot(x, Polynomial(coefficients)(x), style, color="black", lw=1.3, label=label)
    axes.set(title=name, xlabel=score_label(predictions), ylabel=predictions.metric)
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


def score_label(predictions: Predictions) -> str:
    return "score, negated" if predictions.negated else "score"


def _histogram(axes: Axes, predictions: Predictions, values: Tensor) -> None:
    there = values[values.isfinite()]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 0.0)
    span = (low, high) if high > low else (low - 0.5, high + 0.5)
    bins = min(max(8, round(1.5 * len(predictions.contents) ** 0.5)), 40)
    for label, colour, rows in _series(predictions):
        shown = values[rows & values.isfinite()].numpy()
        counts, edges = np.histogram(shown, bins=bins, range=span)
        axes.stairs(counts, edges, fill=True, alpha=0.25, color=colour)
        axes.stairs(counts, edges, linewidth=1.4, color=colour, label=label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _series(predictions: Predictions) -> list[tuple[str, str, Tensor]]:
    """Label, colour and ``(C, L)`` mask of each level, best first by the mean of the metric."""
    means = predictions.truth.nanmean(dim=0).tolist()
    there = [index for index, mean in enumerate(means) if not math.isnan(mean)]
    if len(there) > _MOST_LEVELS:
        return [(f"{len(there)} levels", "C0", predictions.present)]
    there.sort(key=lambda index: means[index], reverse=predictions.higher_is_better)
    series = []
    for place, index in enumerate(there):
        rows = predictions.present.clone()
        rows[:, :index] = False
        rows[:, index + 1 :] = False
        series.append((predictions.levels[index], f"C{place}", rows))
    return series


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
