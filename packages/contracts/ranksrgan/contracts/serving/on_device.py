"""A call's scoring and enlarging, done in the thread of the model's device and joined with that of
other calls where the model allows it."""

from __future__ import annotations

from torch import Tensor

from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer
from ranksrgan.contracts.serving.turn import compute
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo


def score_on_device(scorer: Scorer, name: str, images: Tensor, references: Tensor | None) -> Tensor:
    """`Scorer.score` there; ``name`` is what the client calls the scorer."""

    def score(images: Tensor, references: Tensor | None = None) -> tuple[Tensor]:
        return (scorer.score(images, references),)

    (scores,) = compute(scorer, name, "score", score, images, references, moved=True)
    return scores


def gradient_on_device(
    scorer: DifferentiableScorer, name: str, images: Tensor, references: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`DifferentiableScorer.gradient` there; the results lie there if it is a GPU."""
    scores, gradients = compute(
        scorer, name, "gradient", scorer.gradient, images, references, moved=True
    )
    return scores, gradients


class UpscalerOnDevice:
    """An upscaler that enlarges there."""

    def __init__(self, upscaler: Upscaler, name: str) -> None:
        self._upscaler = upscaler
        self._name = name

    @property
    def info(self) -> UpscalerInfo:
        return self._upscaler.info

    def upscale(self, images: Tensor) -> Tensor:
        def upscale(images: Tensor) -> tuple[Tensor]:
            return (self._upscaler.upscale(images),)

        (enlarged,) = compute(self._upscaler, self._name, "upscale", upscale, images)
        return enlarged
