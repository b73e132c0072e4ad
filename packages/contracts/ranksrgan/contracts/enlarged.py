"""What everybody asks of what an upscaler returns: anybody's object may be one, or its service."""

from __future__ import annotations

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_tensor import class_name, far_outside
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo


def enlarge(upscaler: Upscaler, images: Tensor, what: str = "") -> Tensor:
    """`Upscaler.upscale`, and a look at whether its result is one.

    Args:
        upscaler: of this process, a service, or somebody's own.
        images: as in `Upscaler.upscale`.
        what: the images are, for messages: the name of a file.

    Raises:
        InvalidInput: see `require_enlarged`.
        RankSRGANError: whatever the upscaler raises.
    """
    enlarged = upscaler.upscale(images)
    info = upscaler.info
    count, _, height, width = images.shape
    require_enlarged(enlarged, info, (count, 3, info.scale * height, info.scale * width), what)
    return enlarged


def require_enlarged(
    enlarged: object, info: UpscalerInfo, shape: tuple[int, ...], what: str = ""
) -> None:
    """Raise unless ``enlarged`` is what an upscaler returns, but for an overshoot.

    Otherwise it would be clamped and rounded to a white or black picture without a word. It costs
    one pass over the values.

    Args:
        enlarged: what it returned.
        info: of the upscaler.
        shape: that the result has to have.
        what: see `enlarge`.

    Raises:
        InvalidInput: no tensor, another shape, whole numbers, NaN, or values far outside [0, 1];
            names the upscaler.
    """
    wanted = f"a torch.Tensor {shape} of floating point in [0, 1] is wanted"
    if not isinstance(enlarged, Tensor):
        problem = f"a {class_name(enlarged)}"
    elif enlarged.shape != shape:
        problem = f"the shape {tuple(enlarged.shape)}"
    elif not enlarged.is_floating_point():
        problem, wanted = f"pixels of type {enlarged.dtype}", f"{wanted} (divide by 255)"
    elif extremes := far_outside(enlarged):
        low, high = extremes
        problem = f"values from {low:g} to {high:g}"
    else:
        return
    where = f" for {what}" if what else ""
    raise InvalidInput(
        f"the upscaler {info.name} returned {problem}{where}; {wanted}", field=info.name
    )
