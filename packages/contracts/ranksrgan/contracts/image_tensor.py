"""What scorers and upscalers ask of everything that is given to them as images."""

from __future__ import annotations

from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput


def require_tensor(images: object, field: str = "images") -> None:
    """Raise `InvalidInput` unless ``images`` are a tensor.

    Arrays are not taken silently for one: they mostly hold 0..255, with the channels last.
    """
    if not isinstance(images, Tensor):
        raise InvalidInput(
            f"{field} is a {type(images).__module__}.{type(images).__qualname__}; a torch.Tensor "
            "(N, C, H, W) is wanted, of an array (H, W, C) of uint8 "
            "torch.from_numpy(array).permute(2, 0, 1)[None]",
            field=field,
        )
