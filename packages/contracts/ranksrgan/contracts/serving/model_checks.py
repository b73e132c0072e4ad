"""What a model has to pass before it takes requests."""

from __future__ import annotations

import torch

from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo


def warm_up(model: Upscaler | Scorer, shape: tuple[int, int], label: str) -> None:
    """Run a model once, and backwards if it can: what is slow the first time is so here.

    Args:
        model: an upscaler, or a scorer that needs no references.
        shape: height and width of the image that it runs on.
        label: of the model, for messages.

    Raises:
        InvalidCheckpoint: NaN or infinity comes out.
        InvalidInput, ImageTooSmall...: what the model raises at an image of that shape.
    """
    height, width = shape
    probe = torch.linspace(0, 1, 3 * height * width).reshape(1, 3, height, width)
    if isinstance(model, Upscaler):
        results = model.upscale(probe)
    else:
        probe.requires_grad_(model.info.differentiable)
        results = model.score(probe)
        if model.info.differentiable:
            (results,) = torch.autograd.grad(results.sum(), probe)
    if not bool(results.isfinite().all()):
        raise InvalidCheckpoint(f"{label} makes NaN or infinity of a plain image", field=label)


def require_alike(model: Upscaler | Scorer, serving: Upscaler | Scorer, label: str) -> None:
    """See to it that a name goes on meaning what clients have once been told.

    Args:
        model: to be served under the name.
        serving: served under it now.
        label: of ``model``, for messages.

    Raises:
        InvalidCheckpoint: another scale, or another direction of the score.
    """
    new, old = _meaning(model.info), _meaning(serving.info)
    if new != old:
        raise InvalidCheckpoint(
            f"{label}: {new}, and with {serving.info.name}, which serves, {old}: clients rely on "
            "that; give it another name, or unload what serves first",
            field=label,
        )


def _meaning(info: UpscalerInfo | ScorerInfo) -> str:
    if isinstance(info, UpscalerInfo):
        return f"the scale is {info.scale}"
    return f"{'higher' if info.higher_is_better else 'lower'} is better"
