from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from ranksrgan.contracts import UpscalerInfo
from ranksrgan.contracts.enlarged import enlarge, require_enlarged
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.image_tensor import LIMIT

INFO = UpscalerInfo("own", "1", 4, "toy")
LR = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
SHAPE = (2, 3, 20, 28)


class Returning:
    """An upscaler that has its answer ready."""

    info = INFO

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def upscale(self, images: torch.Tensor) -> torch.Tensor:
        return self._answer  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_overshoots_is_a_result_and_comes_as_it_is(dtype: torch.dtype) -> None:
    answer = torch.full(SHAPE, 0.5, dtype=dtype)
    answer[0, 0, 0, 0], answer[1, 2, 19, 27] = -LIMIT, LIMIT
    assert enlarge(Returning(answer), LR) is answer


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (torch.full(SHAPE, 200, dtype=torch.uint8), r"pixels of type torch\.uint8.*divide by 255"),
        (torch.full(SHAPE, 200.0), "values from 200 to 200"),
        (torch.full(SHAPE, -17.0), "values from -17 to -17"),
        (torch.full(SHAPE, float("inf")), "values from inf to inf"),
        (torch.zeros(SHAPE).index_fill(3, torch.tensor([27]), float("nan")), "values from nan"),
        (LR, r"the shape \(2, 3, 5, 7\)"),
        (torch.rand(3, 20, 28), r"the shape \(3, 20, 28\)"),
        (np.zeros(SHAPE, np.float32), r"a numpy\.ndarray"),
        (None, r"a builtins\.NoneType"),
    ],
)
def test_what_is_no_result_is_refused_with_what_would_be(answer: object, problem: str) -> None:
    wanted = r"a torch\.Tensor \(2, 3, 20, 28\) of floating point in \[0, 1\] is wanted"
    with pytest.raises(InvalidInput, match=f"the upscaler own returned {problem}") as refused:
        enlarge(Returning(answer), LR)
    assert refused.match(wanted)
    assert refused.value.field == "own"


def test_the_image_is_named_if_its_name_is_known() -> None:
    with pytest.raises(InvalidInput, match=r"own returned the shape \(2, 3, 5, 7\) for lion\.png;"):
        enlarge(Returning(LR), LR, "lion.png")


def test_the_look_costs_little_beside_the_rounding_of_the_result() -> None:
    large = torch.rand(1, 3, 1024, 1024)
    began = time.thread_time()
    for _ in range(4):
        require_enlarged(large, INFO, (1, 3, 1024, 1024))
    looked = time.thread_time() - began
    began = time.thread_time()
    for _ in range(4):
        large.double().clamp(0, 1).mul(255).round()
    assert looked < time.thread_time() - began
