"""What a model has to pass before it takes requests."""

from __future__ import annotations

import torch

from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.scorer import Scorer, ScorerInfo
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo

#: Height and width of the image that a model runs on before it takes requests.
USUAL_SHAPE = (64, 64)


def warm_up(model: Upscaler | Scorer, shape: tuple[int, int], label: str) -> None:
    """Run a model once, and backwards if it can: what is slow the first time is so here.

    Args:
        model: what runs; a scorer that compares has the image's mirror image as its reference.
        shape: height and width of the image that it runs on, unless the model takes none so small.
        label: of the model, for messages.

    Raises:
        InvalidCheckpoint: NaN or infinity comes out.
        InvalidInput...: what the model raises at such an image.
    """
    least = 1 if isinstance(model, Upscaler) else model.info.min_side
    height, width = (max(side, least) for side in shape)
    probe = torch.linspace(0, 1, 3 * height * width).reshape(1, 3, height, width)
    if isinstance(model, Upscaler):
        results = model.upscale(probe)
    else:
        # Not the image itself: where two are equal a distance need not have a slope.
        references = probe.flip(3) if model.info.needs_reference else None
        probe.requires_grad_(model.info.differentiable)
        results = model.score(probe, references)
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
