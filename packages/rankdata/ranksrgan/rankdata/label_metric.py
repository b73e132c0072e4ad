"""What the values of a label file are of, and which of them are the better ones.

    labels.txt           1_srres.png 29.968123
    labels.metric.yaml   metric: psnr
                         higher_is_better: true

The official form says neither. `export_labels` writes the second file beside the first; without it
a metric of this project is known by its name, and of any other somebody has to say.
"""

from __future__ import annotations

from pathlib import Path

from ranksrgan.contracts import ScorerInfo, atomic
from ranksrgan.contracts.config import Config, dump_yaml, load_config
from ranksrgan.contracts.errors import InvalidConfig, UnknownName
from ranksrgan.metrics.catalog import open_name

#: Of the official labels: NIQE on Y with a border of 4 left out.
OFFICIAL = "niqe?border=4"


class LabelMetric(Config):
    """A metric and its direction.

    Attributes:
        metric: its name, with options.
        higher_is_better: of its values.
    """

    metric: str
    higher_is_better: bool


def write_label_metric(labels: Path, metric: ScorerInfo) -> None:
    """Write what the values of a label file are of, beside it."""
    said = LabelMetric(metric=metric.name, higher_is_better=metric.higher_is_better)
    atomic.write_text(_beside(labels), dump_yaml(said))


def find_label_metric(
    labels: Path, metric: str | None, higher_is_better: bool | None
) -> LabelMetric:
    """What the values of a label file are of.

    Args:
        labels: the file.
        metric: what somebody says; None for what is written beside it, else `OFFICIAL`.
        higher_is_better: likewise; None for what is written beside it or known of the metric, else
            lower is better.

    Raises:
        InvalidConfig: two of them contradict each other, or the file beside it is damaged.
        InvalidInput: an option that the metric does not have.
    """
    beside = _beside(labels)
    written = load_config(LabelMetric, beside) if beside.is_file() else None
    if written and metric not in (None, written.metric):
        raise InvalidConfig(
            f"metric: {metric}, and by {beside} the values are of {written.metric}; leave metric "
            "out, or correct that file",
            field="metric",
        )
    name = written.metric if written else metric or OFFICIAL
    directions = {
        "the metric itself": _known_direction(name),
        str(beside): written.higher_is_better if written else None,
        "what is given": higher_is_better,
    }
    said = {source: direction for source, direction in directions.items() if direction is not None}
    if len(set(said.values())) > 1:
        told = [f"the {'higher' if d else 'lower'} ones by {source}" for source, d in said.items()]
        raise InvalidConfig(
            f"higher_is_better: the better values of {name} are {', '.join(told)}",
            field="higher_is_better",
        )
    return LabelMetric(metric=name, higher_is_better=any(said.values()))


def _beside(labels: Path) -> Path:
    return labels.with_suffix(".metric.yaml")


def _known_direction(name: str) -> bool | None:
    """That of a metric of this project, however somebody capitalises it."""
    try:
        return open_name(name.lower()).info.higher_is_better
    except UnknownName:
        return None
