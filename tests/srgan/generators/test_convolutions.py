"""A convolution and its ReLU by one kernel of a GPU, against the two apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ranksrgan.srgan.generators.convolutions import convolution_relu


@pytest.mark.cuda
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_of_a_convolution_with_its_relu(bias: bool, frozen: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3, padding=1, bias=bias, device="cuda")
    layer.to(memory_format=torch.channels_last).requires_grad_(not frozen)
    image = torch.randn(2, 8, 20, 24, device="cuda").contiguous(memory_format=torch.channels_last)

    x = image.clone().requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        result = convolution_relu(layer, x)
        plain = layer(x)
    assert (result - F.relu(plain)).norm() <= 1e-2 * result.norm()  # bfloat16 has 8 bits
    upstream = torch.randn_like(result)
    wanted = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    assert len(wanted) == (1 if frozen else 2 + bias)
    found = torch.autograd.grad(result, wanted, upstream)
    # Where the two have another sign by rounding, each is right about its own.
    expected = torch.autograd.grad(plain, wanted, upstream * (result > 0))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 1e-2 * theirs.norm()


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_not_finite_stays_so(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, padding=1, device="cuda", dtype=dtype)
    with torch.no_grad():
        for bad in (float("nan"), float("inf")):
            x = torch.randn(1, 8, 16, 16, device="cuda", dtype=dtype)
            x[0, 3, 8, 8] = bad
            found, expected = convolution_relu(layer, x), F.relu(layer(x))
            assert torch.equal(found.isfinite(), expected.isfinite())
            assert not found.isfinite().all()
