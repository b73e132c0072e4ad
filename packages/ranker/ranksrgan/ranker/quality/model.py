"""What every quality model is: a network that says how good an image looks beside its reference.

A model's file holds its weights, its architecture and its `options`, as a Ranker's does, so that
`make_model` can build it again; see `models`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.ranker.quality.memory import Memory
from ranksrgan.ranker.quality.objective import QualityLoss


class Learnt(NamedTuple):
    """What a model says of a batch it learns from.

    Attributes:
        scores: ``(N,)``.
        cost: a scalar that the model adds to the objective: of a second head, say. None for none.
    """

    scores: Tensor
    cost: Tensor | None = None


class QualityModel(nn.Module, ABC):
    """Base of the quality models. A subclass sets the attributes and writes ``forward``.

    No image may take part in the score of another one, in ``eval`` at least.

    Attributes:
        architecture: what files and ``--model`` call it.
        higher_is_better: whether its score rises with quality. Training turns the opinions to fit.
        full_reference: whether it looks at the references.
        losses: weight of each loss that it is trained with unless the configuration says
            otherwise, by the names of `quality.objective`. Our choice for the models that do not
            say otherwise: the mean squared error and Pearson's correlation together.
        memory: what a score and a gradient take for each pixel of an image.
        min_side: both sides of an image have to have at least so many pixels.
        options: the constructor's arguments, JSON values; a subclass passes them to ``__init__``.
    """

    architecture: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    full_reference: ClassVar[bool] = True
    losses: ClassVar[Mapping[QualityLoss, float]] = {"regression": 1.0, "plcc": 1.0}
    memory: Memory
    min_side: int = 1

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options: dict[str, Any] = options

    @abstractmethod
    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """Score each image.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1]; what overshoots, as the output of a generator in
                training does, is looked at as it is.
            references: likewise, of the same shape.

        Returns:
            ``(N,)``, with a gradient to the images.
        """

    def learn(self, images: Tensor, references: Tensor, kinds: Tensor) -> Learnt:
        """Score a batch in training; a model with costs of its own adds them here.

        Args:
            images, references: see `forward`.
            kinds: ``(N,)`` int64: which kind of distortion each image has, from 0 on.
        """
        return Learnt(self(images, references))

    def begin(self, progress: float) -> None:
        """Called before each step with the share of the training that is done, 0 to below 1.

        A model with phases freezes and thaws its parts here, by ``requires_grad_``.
        """

    @property
    def current_losses(self) -> Mapping[QualityLoss, float]:
        """`losses` of the step that `begin` has begun; a model with phases may change them."""
        return self.losses

    def load_backbone(self, path: Path) -> None:
        """Start from a pretrained backbone; a model that has one overrides this.

        Args:
            path: its weights, in torchvision's or timm's key names as the model says.

        Raises:
            InvalidInput: there is none.
            InvalidCheckpoint: the file holds something else.
        """
        raise InvalidInput(f"{self.architecture} has no backbone", field="backbone")
