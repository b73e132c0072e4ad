"""Whether a ``min_gap`` leaves a pair to learn from; said before the first step is made."""

from __future__ import annotations

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.pairs import PairSource
from ranksrgan.ranker.config import GAP_LOSSES, TrainConfig
from ranksrgan.ranker.predictions import true_values


def check_gap(config: TrainConfig, source: PairSource) -> None:
    """Refuse a ``min_gap`` that no two versions of a content exceed: every pair would be a tie.

    Contents are read until each metric that is learnt has shown such a pair: mostly one is enough.
    Without a gap, or a loss that asks for it, none is.

    Args:
        config: its ``min_gap``, ``losses`` and ``further``.
        source: what is learnt from, with pairs.

    Raises:
        InvalidConfig: of some metric there is no such pair; says how far apart its values are.
        InvalidDataset: a content has no values of a metric, or one that is not a number.
        RankSRGANError: whatever the source raises when it is read.
    """
    losses = [name for name in GAP_LOSSES if config.losses.get(name)]
    if not (config.min_gap and losses):
        return
    first = source.info.metric
    widest = dict.fromkeys((first, *config.further), 0.0)
    for content in source.contents():
        for metric, known in widest.items():
            values = true_values(content, metric, first)
            widest[metric] = max(known, float(values.max() - values.min()))
        if min(widest.values()) > config.min_gap:
            return
    for metric, gap in widest.items():
        if gap <= config.min_gap:
            raise InvalidConfig(
                f"min_gap: no two versions of a content differ by more than {config.min_gap:g} in "
                f"{metric}, so {' and '.join(losses)} would learn nothing; less than {gap:g} is "
                "wanted",
                field="min_gap",
            )
