from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ranksrgan.contracts import Upscaler, UpscalerInfo, cancellation
from ranksrgan.contracts.errors import InvalidInput, RequestCancelled
from ranksrgan.metrics import Bicubic, imresize
from ranksrgan.srgan.upscaling.refine import Refined, back_project, self_ensemble


class Leaning:
    """Doubles by repetition and shifts to the right: turned, it shifts another way."""

    info = UpscalerInfo("leaning", "1", 2, "toy")

    def upscale(self, images: Tensor) -> Tensor:
        doubled = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return F.pad(doubled, (1, 0, 0, 0))[..., :-1]


def test_the_ensemble_is_the_mean_of_eight_turned_back() -> None:
    images = torch.rand(2, 3, 5, 7)
    doubled = images.double().repeat_interleave(2, 2).repeat_interleave(2, 3)
    right = F.pad(doubled, (1, 0, 0, 0))[..., :-1]
    left = F.pad(doubled, (0, 1, 0, 0))[..., 1:]
    down = F.pad(doubled, (0, 0, 1, 0))[..., :-1, :]
    up = F.pad(doubled, (0, 0, 0, 1))[..., 1:, :]
    expected = (right + left + down + up) / 4  # each of the four twice
    made = self_ensemble(Leaning(), images)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.double(), expected, rtol=0, atol=1e-6)


def test_the_ensemble_of_what_has_no_direction_is_itself() -> None:
    images = torch.rand(1, 3, 6, 9)
    once = Bicubic(3).upscale(images)
    torch.testing.assert_close(self_ensemble(Bicubic(3), images), once, rtol=0, atol=1e-6)


def test_back_projection_shrinks_to_what_was_given() -> None:
    torch.manual_seed(0)
    images = imresize(torch.rand(1, 3, 40, 48), scale=0.5).clamp(0.2, 0.8)
    enlarged = (imresize(images, scale=4.0) + 0.02).clamp(0, 1)
    before = (imresize(enlarged, size=(20, 24)) - images).abs().max()
    one = back_project(enlarged, images, 1)
    missing = images.double() - imresize(enlarged.double(), size=(20, 24))
    expected = (enlarged.double() + imresize(missing, size=(80, 96))).clamp(0, 1)
    torch.testing.assert_close(one.double(), expected, rtol=0, atol=1e-6)
    ten = back_project(enlarged, images, 10)
    after = (imresize(ten, size=(20, 24)) - images).abs().max()
    assert after < before / 20
    assert 0 <= ten.min() <= ten.max() <= 1


@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_the_result_has_the_scale_that_was_asked_for(scale: int) -> None:
    images = torch.rand(1, 3, 7, 9)
    refined = Refined(Bicubic(4), out_scale=scale)
    assert isinstance(refined, Upscaler)
    assert refined.info.scale == scale
    assert refined.info.name == Bicubic(4).info.name
    enlarged = refined.upscale(images)
    expected = imresize(Bicubic(4).upscale(images), size=(7 * scale, 9 * scale)).clamp(0, 1)
    assert torch.equal(enlarged, expected)


def test_all_refinements_together() -> None:
    images = torch.rand(1, 3, 6, 5)
    refined = Refined(Leaning(), self_ensemble=True, back_projection=3, out_scale=3)
    by_hand = back_project(self_ensemble(Leaning(), images), images, 3)
    assert torch.equal(refined.upscale(images), imresize(by_hand, size=(18, 15)).clamp(0, 1))
    untouched = Refined(Leaning())
    assert torch.equal(untouched.upscale(images), Leaning().upscale(images))


@pytest.mark.parametrize("wishes", [{}, {"self_ensemble": True}, {"out_scale": 3}])
def test_a_result_of_another_size_is_not_resized(wishes: dict[str, Any]) -> None:
    class Same(Leaning):
        def upscale(self, images: Tensor) -> Tensor:
            return images

    with pytest.raises(InvalidInput, match=r"leaning returned the shape \(1, 3, 6, 6\)"):
        Refined(Same(), **wishes).upscale(torch.rand(1, 3, 6, 6))


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="-1 steps") as refused:
        Refined(Leaning(), back_projection=-1)
    assert refused.value.field == "back_projection"
    with pytest.raises(InvalidInput, match="below 1"):
        Refined(Leaning(), out_scale=0)


def test_cancellation_is_noticed_between_the_eight() -> None:
    calls = 0

    class Counting(Leaning):
        def upscale(self, images: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().upscale(images)

    with cancellation.scope(lambda: calls < 3), pytest.raises(RequestCancelled):
        self_ensemble(Counting(), torch.rand(1, 3, 4, 4))
    assert calls == 3
