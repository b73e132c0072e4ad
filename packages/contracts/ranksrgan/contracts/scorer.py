"""What a scorer is: something that gives each image a number, and says what the number means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True)
class ScorerInfo:
    """Facts about a scorer. Direction is data: nobody has to remember it.

    Attributes:
        name: what `open_scorer` and the wire call it, options included (``"niqe?border=4"``).
        version: of the implementation; a change of values changes it.
        higher_is_better: False for NIQE, PI, RMSE and a Ranker of them.
        needs_reference: True for a full-reference metric such as PSNR.
        differentiable: True if the scorer is a `DifferentiableScorer`.
        min_side: both sides of an image need at least this many pixels. Necessary, not always
            sufficient (NIQE wants two blocks); the scorer itself raises `ImageTooSmall`.
        parameters_hash: sha256 in hex of the parameters behind the score, empty if there are none.
        lowest, highest: bounds of the scores; infinite where there is none.
        model_version: in the model repository that it is served from; empty if it is of none.
    """

    name: str
    version: str
    higher_is_better: bool
    needs_reference: bool
    differentiable: bool
    min_side: int
    parameters_hash: str = ""
    lowest: float = -math.inf
    highest: float = math.inf
    model_version: str = ""


@runtime_checkable
class Scorer(Protocol):
    """Scores images. Local and remote ones are indistinguishable, to the bit."""

    @property
    def info(self) -> ScorerInfo: ...

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """Score each image.

        Args:
            images: ``(N, 3|1, H, W)``, N at least 1, floating point in [0, 1] or uint8.
            references: the same shape, for a full-reference scorer; None otherwise.

        Returns:
            ``(N,)`` float64 on the device of ``images``.

        Raises:
            InvalidInput: wrong shape, type or range, references missing or unexpected.
            ImageTooSmall: below the metric's smallest size.
            UndefinedScore: the metric has no value for one of the images.
        """
        ...


@runtime_checkable
class DifferentiableScorer(Scorer, Protocol):
    """A scorer whose result carries gradients to ``images`` when they require one."""

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate each score by its own image.

        Returns:
            ``(N,)`` float64 scores and d(score_i)/d(image_i) in the shape and type of ``images``
            (floating point only); neither carries a graph.
        """
        ...


@runtime_checkable
class Recordable(Protocol):
    """What may be a part of a CUDA graph: a scorer, or another network that a training asks.

    Attributes:
        recordable: its work on a GPU is the same for all images of one shape. Nothing in it depends
            on their values, on earlier calls or on chance, and while `recording.recording` says so
            it reads nothing from the GPU: a check that would is left out, and what takes more than
            the GPU is left to `recording.in_between`.
    """

    @property
    def recordable(self) -> bool: ...


@runtime_checkable
class FeatureExtractor(Protocol):
    """A scorer that shows the features behind its score. Local and remote ones are equal."""

    def extract(self, images: Tensor) -> dict[str, Tensor]:
        """The features of each image.

        Args:
            images: as in `Scorer.score`.

        Returns:
            Arrays by name, ``(N, ...)``, on the device of ``images``; ``{"niqe": (N, P, 36)}`` for
            NIQE. A feature that does not exist somewhere (in a flat patch) is NaN.

        Raises:
            InvalidInput, ImageTooSmall: as in `Scorer.score`.
        """
        ...


@runtime_checkable
class FeatureMaps(Protocol):
    """A scorer with a network whose feature maps can be had, for a perceptual loss.

    In this process only: they are many times the size of the images.
    """

    def feature_maps(self, images: Tensor) -> dict[str, Tensor]:
        """The maps of each stage.

        Args:
            images: as in `Scorer.score`.

        Returns:
            ``(N, C, h, w)`` by stage, the earliest first, on the device of ``images`` and with a
            gradient to them if they want one.

        Raises:
            InvalidInput, ImageTooSmall: as in `Scorer.score`.
            NotSupported: this network has none.
        """
        ...
