from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.images import Picture
from ranksrgan.srgan.upscaling.transparency import Continuation


def filled(total: Tensor, weight: Tensor) -> Tensor:
    """The whole pyramid at once, as the module's first paragraph has it."""
    own = total / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    if bool((weight > 0).all()):
        return own
    height, width = weight.shape[2:]
    halved = [F.avg_pool2d(plane, 2, ceil_mode=True) for plane in (total, weight)]
    around = F.interpolate(filled(*halved), scale_factor=2)[..., :height, :width]
    return torch.where(weight > 0, own, around)


def random_picture(height: int, width: int, channels: int, dtype: type) -> Picture:
    """A few visible spots, and one visible corner."""
    random = np.random.default_rng(height)
    top = np.iinfo(dtype).max
    colour = random.integers(0, top + 1, (height, width, channels), dtype=dtype)
    alpha = np.where(random.random((height, width)) < 0.05, top // 3, 0).astype(dtype)
    alpha[-1, -1] = 1
    return Picture(colour, alpha)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(601, 33, 3), (512, 20, 1), (1, 9, 3), (9, 1, 3), (1, 1, 3), (259, 4, 3)]
)
def test_rows_are_those_of_the_whole_pyramid_to_the_bit(
    shape: tuple[int, int, int], dtype: type
) -> None:
    picture = random_picture(*shape, dtype)
    assert picture.alpha is not None
    planes = picture.colour.transpose(2, 0, 1)[None].astype(np.float64)
    colour = torch.from_numpy(planes / picture.depth).float().expand(-1, 3, -1, -1)
    if dtype == np.uint8:
        colour = torch.from_numpy(planes).float().expand(-1, 3, -1, -1) / 255
    visible = torch.from_numpy(picture.alpha > 0)
    known = visible[None, None].float()
    expected = torch.where(visible, colour, filled(colour * known, known))
    continuation = Continuation(picture)
    for step in (1, 7, 256, 1000):
        tops = range(0, picture.height, step)
        rows = [continuation.rows(top, min(top + step, picture.height)) for top in tops]
        assert torch.equal(torch.cat(rows, 2), expected)


def test_where_nothing_is_visible_nothing_changes() -> None:
    picture = random_picture(5, 7, 3, np.uint8)
    hidden = Picture(picture.colour, np.zeros((5, 7), np.uint8))
    planes = torch.from_numpy(picture.colour.transpose(2, 0, 1)[None].copy())
    assert torch.equal(Continuation(hidden).rows(1, 4), planes[:, :, 1:4].float() / 255)


def test_what_is_kept_is_a_quarter_of_the_picture() -> None:
    """No tensor on the way has more values than the first level of the pyramid, or some rows."""
    picture = random_picture(1500, 1000, 3, np.uint16)
    largest = 0

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            made = function(*args, **(kwargs or {}))
            if isinstance(made, Tensor):
                largest = max(largest, made.numel())
            return made

    with Watched():
        continuation = Continuation(picture)
        continuation.rows(700, 900)
    assert 0 < largest <= max(3 * 750 * 500, 3 * 256 * 1000)
