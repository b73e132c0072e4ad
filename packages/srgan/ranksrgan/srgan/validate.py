"""Validation during a training, and which checkpoint is the best."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from ranksrgan.contracts import open_scorer
from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.images import list_images
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.data import read_photograph
from ranksrgan.srgan.evaluate import evaluate_photographs, standard_scorers
from ranksrgan.srgan.generator import Generator
from ranksrgan.srgan.upscaler import GeneratorUpscaler


class Validation:
    """Scores a generator on a folder of whole images, the same way each time.

    Args:
        config: ``validation.hr`` is set.
        rankers: of the rank loss; their scores appear as ``ranker``, or ``ranker1``, ``ranker2``
            and so on if there are several.
        scorers: further scorers by name.

    Raises:
        InvalidConfig: ``validation.best`` is none of the scorers.
        InvalidInput, InvalidImage: the folder or one of its images.
    """

    def __init__(
        self,
        config: TrainConfig,
        rankers: Sequence[tuple[DifferentiableScorer, float]],
        scorers: Mapping[str, Scorer],
    ) -> None:
        folder = config.validation.hr
        if folder is None:
            raise InvalidConfig("validation.hr names no folder", field="validation.hr")
        names = ["ranker"] if len(rankers) == 1 else [f"ranker{i + 1}" for i in range(len(rankers))]
        self._scorers: dict[str, Scorer] = {
            **standard_scorers(config.validation.border),
            **{name: ranker for name, (ranker, _) in zip(names, rankers, strict=True)},
            **{spec: open_scorer(spec) for spec in config.validation.scorers},
            **scorers,
        }
        self.best = config.validation.best
        if self.best not in self._scorers:
            raise InvalidConfig(
                f"validation.best is {self.best}; it is one of {', '.join(self._scorers)}",
                field="validation.best",
            )
        scale = config.generator.scale
        self._photographs = [read_photograph(path, scale) for path in list_images(folder)]

    @property
    def columns(self) -> list[str]:
        """Names of the values that `run` returns."""
        return [
            column
            for name, scorer in self._scorers.items()
            for column in ([name] if scorer.info.needs_reference else [name, f"{name}_dropped"])
        ]

    def run(self, generator: Generator) -> dict[str, float | None]:
        """Mean scores, and for each metric without a reference how many images it dropped.

        Raises:
            InvalidConfig: no image has a value of the metric that chooses the best checkpoint.
        """
        device = next(generator.parameters()).device
        upscaler = GeneratorUpscaler(copy.deepcopy(generator), device=device)
        evaluation = evaluate_photographs(upscaler, self._photographs, self._scorers)
        if evaluation.mean(self.best) is None:
            raise InvalidConfig(
                f"no validation image is fit for {self.best} (NIQE wants more than one block of 96 "
                "pixels inside the border): use larger images or another validation.best",
                field="validation.best",
            )
        values: dict[str, float | None] = {}
        for column in self.columns:
            name = column.removesuffix("_dropped")
            values[column] = evaluation.mean(name) if column == name else evaluation.dropped(name)
        return values

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` beats the best so far, in the direction of the chosen metric."""
        if best is None:
            return True
        return value > best if self._scorers[self.best].info.higher_is_better else value < best
