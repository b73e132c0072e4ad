"""Whether a source can choose a Ranker's best weights; said before the first step is made."""

from __future__ import annotations

from ranksrgan.contracts.errors import InvalidDataset
from ranksrgan.contracts.pairs import PairSource, RankedInfo
from ranksrgan.ranker.config import TrainConfig


def check_held_out(config: TrainConfig, learnt: RankedInfo, source: PairSource) -> None:
    """Refuse a validation source on which the evaluation of some head would be undefined.

    Contents are read until each metric has shown two different values: mostly one is enough.

    Args:
        config: its ``further``.
        learnt: facts of the source that is learnt from.
        source: the validation source.

    Raises:
        InvalidDataset: there are no contents, no values of a metric that is learnt, or only equal
            ones, so that there is no order to agree with.
    """
    info = source.info
    known = [info.metric, *info.further]
    undecided = dict.fromkeys((learnt.metric, *config.further))
    missing = [metric for metric in undecided if metric not in known]
    if missing:
        raise InvalidDataset(
            f"validation: there are no values of {missing[0]}, which is learnt, to choose the best "
            f"weights by; there is {', '.join(known)}",
            field="metric",
        )
    seen: dict[str, float] = {}
    for content in source.contents():
        for metric in list(undecided):
            values = content.scores if metric == info.metric else content.further.get(metric)
            if values is None:
                raise InvalidDataset(
                    f"validation: {content.content} has no values of {metric}", field=metric
                )
            first = seen.setdefault(metric, float(values[0]))
            if bool((values != first).any()):
                del undecided[metric]
        if not undecided:
            return
    if not seen:
        raise InvalidDataset("validation: there are no contents", field="contents")
    raise InvalidDataset(
        f"validation: all values of {next(iter(undecided))} are equal, so there is no order to "
        "choose the best weights by",
        field="score",
    )
