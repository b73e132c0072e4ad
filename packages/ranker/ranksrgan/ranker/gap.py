"""Whether a ``min_gap`` leaves a pair to learn from; said before the first step is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker.config import GAP_LOSSES, TrainConfig
from ranksrgan.ranker.predictions import true_values


def check_gap(config: TrainConfig, source: PairSource) -> None:
    """Refuse a ``min_gap`` that no two versions of a content exceed: every pair would be a tie.

    No image is read of a source whose info has the widest gaps. Of others contents are read until
    each metric that is learnt has shown such a pair: mostly one is enough. Without a gap, or a loss
    that asks for it, none is.

    Args:
        config: its ``min_gap``, ``losses`` and ``further``.
        source: what is learnt from, with pairs.

    Raises:
        InvalidConfig: of some metric there is no such pair; says how far apart its values are, and
            which losses would learn nothing of it.
        InvalidDataset: a content has no values of a metric, or one that is not a number.
        RankSRGANError: whatever the source raises when it is read.
    """
    losses = [name for name in GAP_LOSSES if config.losses.get(name)]
    if not (config.min_gap and losses):
        return
    metrics = (source.info.metric, *config.further)
    widest = source.info.widest
    if not set(metrics) <= set(widest):
        widest = _read_widest(source, metrics, config.min_gap)
    for metric in metrics:
        if widest[metric] <= config.min_gap:
            without = " and ".join(losses)
            raise InvalidConfig(
                f"min_gap: no two versions of a content differ by more than {config.min_gap:g} in "
                f"{metric}, so {without} would learn nothing of it; less than {widest[metric]:g} "
                f"is wanted, or losses without {without}",
                field="min_gap",
            )


def _read_widest(source: PairSource, metrics: Sequence[str], enough: float) -> Mapping[str, float]:
    """How far two versions of a content are apart at most, by metric; once it is more than
    ``enough`` in each of them, no further content is read."""
    widest = dict.fromkeys(metrics, 0.0)
    for content in source.contents():
        for metric, known in widest.items():
            values = true_values(content, metric, source.info.metric)
            widest[metric] = max(known, float(values.max() - values.min()))
        if min(widest.values()) > enough:
            break
    return widest
