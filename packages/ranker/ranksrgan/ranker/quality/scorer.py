"""A trained quality model as a scorer that nothing can change any more, and that has a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import Weights, hash_tensors
from ranksrgan.contracts.device import (
    PRECISIONS,
    Precision,
    choose_device,
    computes_in_bfloat16,
    find_precision,
    mixed,
    place,
)
from ranksrgan.contracts.errors import ImageTooLarge, ImageTooSmall, InvalidInput
from ranksrgan.contracts.image_tensor import (
    check_gradient_size,
    far_outside,
    require_tensor,
    wants_gradient,
)
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.joining import Joining
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.metrics.full_reference import check_shapes
from ranksrgan.metrics.image_gradient import gradient_one_by_one
from ranksrgan.ranker.named_scorer import NamedScorer
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.models import load_model

VERSION = "1"

_OPTIONS = ("device", "precision")

#: Pixels of one image, whatever the model.
MAX_PIXELS = 2**24
#: Bytes that one image may take: a model's bytes for each pixel say how large it may be.
MEMORY = 2**34


class QualityScorer(NamedScorer):
    """A frozen quality model: a `DifferentiableScorer` that needs references.

    Its score is in standard deviations of the opinions that it has learnt from. Pairs go through
    the model one at a time, so that a score does not hang on the batch. Several threads may use it.

    Args:
        model: is owned from here on.
        name: for `ScorerInfo.name`.
        parameters_hash: for `ScorerInfo.parameters_hash`; computed if it is empty.
        device: see `choose_device`. Images may lie elsewhere.
        precision: of the convolutions, see `Ranker`.
    """

    def __init__(
        self,
        model: QualityModel,
        *,
        name: str = "quality",
        parameters_hash: str = "",
        device: str | torch.device = "auto",
        precision: Precision = "float32",
    ) -> None:
        self._device = choose_device(device)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(_check_wanted)
        self._model = place(model.requires_grad_(False).eval(), self._device)
        self._bfloat16 = computes_in_bfloat16(precision, self._device)
        self._info = ScorerInfo(
            name=name,
            version=VERSION,
            higher_is_better=model.higher_is_better,
            needs_reference=model.full_reference,
            differentiable=True,
            min_side=model.min_side,
            parameters_hash=parameters_hash or hash_tensors(model.state_dict()),
        )

    @property
    def joining(self) -> Joining:
        return Joining("exactly", self._device)

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        """Score each image; see `Scorer.score`.

        Args:
            images: ``(N, 3|1, H, W)`` uint8, or floating point in [0, 1]. What overshoots that
                range, as the output of a generator in training does, is scored as it is.
            references: of the same shape.

        Returns:
            ``(N,)`` float64 on the device of ``images``, with a gradient to them if they want one.

        Raises:
            InvalidInput: no references, or of another shape than the images; another shape or type,
                NaN, values far outside [0, 1].
            ImageTooSmall: a side is below ``info.min_side``.
            ImageTooLarge: more than `MAX_PIXELS`, or than the model scores within `MEMORY`, with a
                gradient where one is wanted.
            RequestCancelled: nobody waits for the result any more.
        """
        references = self._checked(references)
        _check(images, "images", self._info.min_side)
        _check_size(images, self._model.memory.score)
        check_shapes(images, references)
        _check(references, "references", self._info.min_side)
        if wants_gradient(images, references):
            check_gradient_size(images, _most(self._model.memory.gradient), "this model")
        pairs = zip(torch.split(images, 1), torch.split(references, 1), strict=True)
        with mixed(True, self._device) if self._bfloat16 else nullcontext():
            scores = torch.cat(
                [self._model(self._prepare(image), self._prepare(other)) for image, other in pairs]
            )
        return scores.double().to(images.device)

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score each image and differentiate; see `DifferentiableScorer.gradient`.

        Raises:
            ImageTooLarge: an image of more than `MAX_PIXELS`, or than a gradient takes within
                `MEMORY`.
            InvalidInput: uint8, and whatever `score` refuses.
        """
        return gradient_one_by_one(self.score, images, self._checked(references))

    def _checked(self, references: Tensor | None) -> Tensor:
        if references is None:
            raise InvalidInput(f"{self._info.name} needs references", field="references")
        return references

    def _prepare(self, image: Tensor) -> Tensor:
        there = as_float(image.to(self._device)).expand(-1, 3, -1, -1)
        return there.contiguous(memory_format=torch.channels_last)


def quality_scorer_of(weights: Weights, options: Mapping[str, str]) -> QualityScorer:
    """The scorer of weights that have been read.

    Args:
        weights: of a quality model.
        options: ``device`` and ``precision``, see `QualityScorer`.

    Raises:
        InvalidCheckpoint: see `load_model`.
        InvalidInput: an unknown option, or a value that it cannot have.
    """
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise InvalidInput(
            f"{weights.path}: unknown option {unknown[0]}; a quality model takes "
            f"{', '.join(_OPTIONS)}",
            field=unknown[0],
        )
    return QualityScorer(
        load_model(weights),
        name=str(weights.architecture),
        parameters_hash=weights.sha256,
        device=options.get("device", "auto"),
        precision=find_precision(options.get("precision", "float32"), PRECISIONS),
    )


def _check(images: Tensor, field: str, least: int) -> None:
    require_tensor(images, field)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise InvalidInput(
            f"{field} have shape (N, 3|1, H, W) with N at least 1, not {tuple(images.shape)}",
            field=field,
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InvalidInput(
            f"{field} are uint8 or floating point in [0, 1], not {images.dtype}", field=field
        )
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise ImageTooSmall(
            f"an image is {width} x {height} pixels; both sides should have {least}", field=field
        )
    if images.is_floating_point() and (extremes := far_outside(images)):
        low, high = extremes
        raise InvalidInput(
            f"{field} reach from {low:g} to {high:g}; floating point images lie in [0, 1]",
            field=field,
        )


def _check_size(images: Tensor, pixel_bytes: int) -> None:
    height, width = images.shape[2:]
    most = _most(pixel_bytes)
    if height * width > most:
        raise ImageTooLarge(
            f"an image is {width} x {height} pixels; this model scores at most {most}",
            field="images",
        )


def _most(pixel_bytes: int) -> int:
    """Pixels that there is room for."""
    return min(MAX_PIXELS, MEMORY // pixel_bytes)


def _check_wanted(module: nn.Module, inputs: object) -> None:
    cancellation.check()
