"""What a service that trains generators tells of them: plain values, no wire."""

from __future__ import annotations

from typing import Self

from ranksrgan.contracts.config import Config


class GeneratorValidation(Config):
    """Mean scores of a generator on images that it has not learned from.

    Attributes:
        step: steps that the weights had.
        scores: by name of the metric or Ranker.
    """

    step: int
    scores: dict[str, float]

    @classmethod
    def of(cls, step: int, scores: dict[str, float | None]) -> Self:
        """Of a training's scores; those without a value are left out."""
        return cls(step=step, scores={name: s for name, s in scores.items() if s is not None})


class TrainedGeneratorInfo(Config):
    """A generator whose training is done.

    Attributes:
        name: ``"generators/faces"``.
        architecture: of the network.
        scale: by which it enlarges.
        step: steps made in all.
        parameters_hash: sha256 in hex of the weights after them.
        validation: of these weights; None without images to validate on.
        best_parameters_hash: of the weights of the best validation; empty without one.
        best_validation: of those weights; None without one.
        alarms: what the drift alarm has said, oldest first.
    """

    name: str
    architecture: str
    scale: int
    step: int
    parameters_hash: str
    validation: GeneratorValidation | None
    best_parameters_hash: str
    best_validation: GeneratorValidation | None
    alarms: tuple[str, ...] = ()
