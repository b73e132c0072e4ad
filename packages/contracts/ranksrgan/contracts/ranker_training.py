"""What a service that trains Rankers is asked for, and what it tells: plain values, no wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ranksrgan.contracts.config import Config


class TrainingRequest(Config):
    """A Ranker that somebody wants.

    Attributes:
        dataset: to learn from, by its name in the server's data root (``"datasets/faces"``).
        split: of it; empty for all.
        validation_split: to choose the best weights by; empty for none, which keeps the last ones.
        validation_dataset: that the split is of; empty for ``dataset``.
        ties: what happens to pairs without an order.
        min_gap: values have to differ by more than this to have an order.
        config: keys and values of the training's configuration.
    """

    dataset: str
    split: str = ""
    validation_split: str = ""
    validation_dataset: str = ""
    ties: Literal["drop", "keep"] = "drop"
    min_gap: float = 0.0
    config: dict[str, Any] = Field(default_factory=dict)


class RankerValidation(Config):
    """Agreement of a Ranker with the metric, on images that it has not learned from.

    Attributes:
        step: updates that the weights had.
        srocc: Spearman's correlation over all images, in [-1, 1].
        srocc_per_content: its mean over the contents; None if no content has an order.
        pair_accuracy: share of the ordered pairs that come out in the right order; likewise.
    """

    step: int
    srocc: float
    srocc_per_content: float | None
    pair_accuracy: float | None


class TrainedRankerInfo(Config):
    """A Ranker whose training is done.

    Attributes:
        name: ``"rankers/faces"``.
        metric: that it has learned.
        higher_is_better: direction of the metric, and of the Ranker.
        step: updates made in all.
        best_step: after how many of them the kept weights were written.
        validation: of the kept weights; None without a validation split.
        parameters_hash: sha256 of the weights, in hex.
    """

    name: str
    metric: str
    higher_is_better: bool
    step: int
    best_step: int
    validation: RankerValidation | None
    parameters_hash: str
