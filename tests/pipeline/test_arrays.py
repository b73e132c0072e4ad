"""Whoever gives an array, or a list, where a tensor is wanted is told so by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import imresize, imresize_uint8, niqe, psnr, ssim

ARRAY = np.random.default_rng(0).random((1, 3, 192, 192), dtype=np.float32)
TENSOR = torch.from_numpy(ARRAY)
CALLS: dict[str, Callable[[Any], object]] = {
    "niqe": niqe,
    "imresize": lambda images: imresize(images, 0.25),
    "imresize_uint8": lambda images: imresize_uint8(images, 0.25),
    "psnr": lambda images: psnr(images, TENSOR),
    "scorer": lambda images: open_scorer("niqe").score(images),
    "ranker": lambda images: open_scorer("ranker-niqe").score(images),
    "gradient": lambda images: open_scorer("ranker-niqe").gradient(images),  # type: ignore[attr-defined]
    "upscaler": lambda images: open_upscaler("ranksrgan").upscale(images),
}


# NIQE takes lists of images, of unlike sizes.
GIVEN = [(call, ARRAY, "images is a numpy.ndarray") for call in CALLS] + [
    (call, [TENSOR[0]], "images is a builtins.list")
    for call in CALLS
    if call not in ("niqe", "scorer")
]


@pytest.mark.parametrize(("call", "given", "told"), GIVEN)
def test_images(call: str, given: object, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        CALLS[call](given)
    assert caught.value.field == "images"
    assert "torch.Tensor" in str(caught.value)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_references(metric: Callable[..., object]) -> None:
    with pytest.raises(InvalidInput, match=r"references is a numpy\.ndarray"):
        metric(TENSOR, ARRAY)
