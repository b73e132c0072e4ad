"""Winograd's convolutions: the twins against torch, the native operators against the twins."""

from __future__ import annotations

import copy
import platform

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.metrics import native
from ranksrgan.srgan.generators import convolution_reference as reference
from ranksrgan.srgan.generators import winograd
from ranksrgan.srgan.generators.convolutions import (
    convolution_add,
    convolution_relu,
    convolution_shuffle,
)
from ranksrgan.srgan.generators.pixel_shuffle import PixelShuffle
from ranksrgan.srgan.generators.winograd import (
    RgbConvolution,
    WinogradConvolution,
    fits,
    makes_rgb,
    pack,
)

# Height and width: none, one and many tiles of two pixels, whole and cut, more than a thread takes
# at a time.
SIZES = [(1, 1), (1, 6), (7, 1), (6, 10), (13, 121)]

# Of results of the order of 1: what rounding some hundred products to bfloat16 makes of them, and
# what adding them up in float32 does.
CLOSE = {torch.bfloat16: 0.03, torch.float32: 1e-5}


def serves(dtype: torch.dtype) -> bool:
    """Whether the native operator computes here in that type, be it the fastest or not."""
    return winograd._winograd(dtype) is not reference.winograd and native.status().in_use


@pytest.fixture
def bfloat16() -> None:
    if not serves(torch.bfloat16):
        pytest.skip("no native operators, or no AVX-512 with bfloat16")


@pytest.fixture
def float32() -> None:
    if not serves(torch.float32):
        pytest.skip("no native operators, or no AVX2")


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=str)
def computed(request: pytest.FixtureRequest) -> torch.dtype:
    """A type that the native operator computes in here."""
    dtype: torch.dtype = request.param
    request.getfixturevalue(str(dtype).removeprefix("torch."))
    return dtype


def layer(inputs: int, outputs: int) -> nn.Conv2d:
    torch.manual_seed(0)
    made = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.normal_(made.weight, std=(9 * inputs) ** -0.5)
    assert made.bias is not None
    nn.init.normal_(made.bias)
    return made.requires_grad_(False)


def maps(channels: int, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    made = torch.randn((1, channels, *size), generator=generator).to(dtype)
    return made.contiguous(memory_format=torch.channels_last)


def by_twin(
    x: Tensor,
    convolution: nn.Conv2d,
    *,
    residual: Tensor | None = None,
    factor: float = 1.0,
    slope: float = 1.0,
    shuffle: int = 1,
    dtype: torch.dtype = torch.float32,
    computed: torch.dtype = torch.bfloat16,
) -> Tensor:
    outputs = convolution.out_channels // shuffle**2
    out = torch.empty(1, outputs, shuffle * x.shape[2], shuffle * x.shape[3], dtype=dtype)
    assert convolution.bias is not None
    bias = convolution.bias.reshape(outputs, -1).T.flatten()
    weight = pack(convolution.weight, shuffle, computed)
    reference.winograd(x, weight, bias, out, residual, factor, slope, shuffle)
    return out


@pytest.mark.parametrize("computed", CLOSE, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("inputs", "outputs", "shuffle"), [(64, 64, 1), (32, 128, 2), (32, 288, 3)]
)
def test_the_twin_is_a_convolution(
    size: tuple[int, int], inputs: int, outputs: int, shuffle: int, computed: torch.dtype
) -> None:
    convolution, x = layer(inputs, outputs), maps(inputs, size)
    expected = F.pixel_shuffle(F.leaky_relu(convolution(x), 0.2), shuffle)
    found = by_twin(x, convolution, slope=0.2, shuffle=shuffle, computed=computed)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE[computed])
    # Not a coincidence: what is rounded is small, not absent.
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("computed", CLOSE, ids=str)
def test_the_twin_is_exact_where_nothing_is_rounded(computed: torch.dtype) -> None:
    """Small whole numbers, and filters of which Winograd's are whole numbers too."""
    convolution = layer(32, 32)
    generator = torch.Generator().manual_seed(2)
    whole = torch.randint(-3, 4, convolution.weight.shape, generator=generator)
    convolution.weight.copy_(4 * whole)
    assert convolution.bias is not None
    convolution.bias.zero_()
    x = torch.randint(-8, 9, (1, 32, 9, 11), generator=generator).float()
    residual = torch.randn(1, 32, 9, 11, generator=generator)
    expected = residual + 0.5 * convolution(x)
    found = by_twin(x, convolution, residual=residual, factor=0.5, computed=computed)
    assert torch.equal(found, expected)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (96, 32), (32, 192)])
def test_native_equals_twin(
    size: tuple[int, int], dtype: torch.dtype, inputs: int, outputs: int
) -> None:
    convolution, x = layer(inputs, outputs), maps(inputs, size, dtype)
    fast = WinogradConvolution(convolution)
    half = {"rtol": 0.01, "atol": 1e-5}  # one step of bfloat16 is 1/128
    sums = {"rtol": 0, "atol": 1e-5}  # the order differs
    found = fast(x)
    assert found.dtype == dtype
    close = half if dtype == torch.bfloat16 else sums
    torch.testing.assert_close(found, by_twin(x, convolution, dtype=dtype), **close)
    relu = convolution_relu(fast, x, 0.2)
    assert relu.dtype == torch.bfloat16
    expected = by_twin(x, convolution, slope=0.2, dtype=torch.bfloat16)
    torch.testing.assert_close(relu, expected, **half)
    residual = maps(outputs, size)
    found = convolution_add(fast, x, residual, 0.2)
    expected = by_twin(x, convolution, residual=residual, factor=0.2)
    torch.testing.assert_close(found, expected, **sums)


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (96, 32), (32, 192)])
def test_native_in_float32_is_a_convolution(
    size: tuple[int, int], inputs: int, outputs: int
) -> None:
    """To what direct convolutions have of float64 themselves."""
    convolution, x = layer(inputs, outputs), maps(inputs, size)
    fast = WinogradConvolution(convolution, torch.float32)
    exact = copy.deepcopy(convolution).double()(x.double())
    residual = maps(outputs, size)
    wanted = [
        (fast(x), exact),
        (convolution_relu(fast, x, 0.2), F.leaky_relu(exact, 0.2)),
        (convolution_add(fast, x, residual, 0.2), residual.double() + 0.2 * exact),
    ]
    for found, expected in wanted:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6)
    twin = by_twin(x, convolution, computed=torch.float32)
    torch.testing.assert_close(fast(x), twin, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("outputs", "factor"), [(256, 2), (128, 2), (288, 3)])
def test_native_shuffles_pixels(outputs: int, factor: int, computed: torch.dtype) -> None:
    close = {"rtol": 0.01 if computed == torch.bfloat16 else 0, "atol": 1e-5}
    as_computed = {"dtype": computed, "computed": computed}
    convolution, x = layer(32, outputs), maps(32, (5, 70), computed)
    fast = WinogradConvolution(convolution, computed)
    found = convolution_shuffle(fast, PixelShuffle(factor), x, 0.0)
    expected = by_twin(x, convolution, slope=0.0, shuffle=factor, **as_computed)
    torch.testing.assert_close(found, expected, **close)
    # Too few channels to be shuffled on the way.
    convolution = layer(32, 64)
    found = convolution_shuffle(WinogradConvolution(convolution, computed), PixelShuffle(2), x)
    expected = F.pixel_shuffle(by_twin(x, convolution, **as_computed), 2)
    torch.testing.assert_close(found, expected, **close)


def test_parts_of_maps_are_read_and_written(computed: torch.dtype) -> None:
    """A crop of a larger map, and some channels of one."""
    convolution = layer(32, 32)
    fast = WinogradConvolution(convolution, computed)
    large = maps(96, (20, 30), computed)
    crop = large[:, 32:64, 3:16, 5:20]
    out = torch.zeros_like(large)
    fast.write(crop, out[:, 64:, 3:16, 5:20], slope=1.0)
    assert torch.equal(out[:, 64:, 3:16, 5:20], fast(crop.clone()))
    assert out.count_nonzero() == out[:, 64:, 3:16, 5:20].count_nonzero()


def test_images_threads_and_layouts_change_nothing(computed: torch.dtype) -> None:
    fast, rgb = WinogradConvolution(layer(64, 64), computed), RgbConvolution(layer(64, 3))
    x = torch.randn(3, 64, 19, 40)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append((fast(x), rgb(x)))
    torch.set_num_threads(before)
    alone = [torch.cat([convolution(one[None]) for one in x]) for convolution in (fast, rgb)]
    for made in (*found, alone):
        assert torch.equal(made[0], found[0][0])
        assert torch.equal(made[1], found[0][1])


@pytest.mark.parametrize("convolution", [layer(32, 32), layer(32, 3)])
def test_what_is_not_finite_stays_so(convolution: nn.Conv2d, computed: torch.dtype) -> None:
    fast = RgbConvolution(convolution) if makes_rgb(convolution) else None
    fast = fast or WinogradConvolution(convolution, computed)
    for value in (torch.nan, torch.inf):
        x = maps(32, (8, 8))
        x[0, 5, 3, 3] = value
        made = fast(x) if isinstance(fast, RgbConvolution) else convolution_relu(fast, x)
        assert not made[..., 3, 3].isfinite().any()


@pytest.mark.parametrize("size", [*SIZES, (40, 30)])
def test_rgb_is_a_convolution(size: tuple[int, int], computed: torch.dtype) -> None:
    convolution, x = layer(64, 3), maps(64, size, computed)
    found = RgbConvolution(convolution)(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, convolution(x.float()), rtol=0, atol=1e-5)
    weight = F.pad(convolution.weight.permute(1, 2, 3, 0).flatten(1), (0, 5))
    assert convolution.bias is not None
    twin = reference.convolve_to_rgb(x, weight, convolution.bias)
    torch.testing.assert_close(twin, convolution(x.float()), rtol=0, atol=1e-5)


CHECKS = ("test_schema", "test_faketensor")


def test_winograd_says_what_it_does(computed: torch.dtype) -> None:
    convolution, x = layer(32, 32), maps(32, (5, 6))
    out, bias, weight = torch.empty_like(x), torch.zeros(32), pack(convolution.weight, 1, computed)
    arguments = (x, weight, bias, out, x.clone(), 0.5, 0.2, 1)
    torch.library.opcheck(torch.ops.ranksrgan.winograd.default, arguments, test_utils=CHECKS)


@pytest.mark.usefixtures("float32")
def test_to_rgb_says_what_it_does() -> None:
    x = maps(32, (5, 6))
    arguments = (x, torch.rand(32, 32), torch.rand(3))
    torch.library.opcheck(torch.ops.ranksrgan.convolve_to_rgb.default, arguments, test_utils=CHECKS)


def test_wrong_arguments_are_refused(computed: torch.dtype) -> None:
    x, bias = maps(32, (5, 6)), torch.zeros(32)
    weight = pack(layer(32, 32).weight, 1, computed)
    good = {
        "x": x,
        "weight": weight,
        "bias": bias,
        "out": torch.empty_like(x),
        "residual": None,
        "factor": 1.0,
        "slope": 1.0,
        "shuffle": 1,
    }
    wrong = [
        ({"x": x.double()}, TypeError, "float32 or bfloat16"),
        ({"x": x.contiguous()}, ValueError, "channels side by side"),
        ({"x": x[:, :16]}, ValueError, "a multiple of 32 channels"),
        ({"weight": weight.double()}, ValueError, "of bfloat16 or float32 expected"),
        ({"weight": weight[:, :9].contiguous()}, ValueError, r"weights \(blocks, 16"),
        ({"bias": bias[:16]}, ValueError, "each of 32 outputs"),
        ({"out": maps(32, (5, 7))}, ValueError, "not that of 32 outputs"),
        ({"residual": maps(32, (5, 7))}, ValueError, "of one shape"),
        ({"residual": x.bfloat16()}, ValueError, "of float32"),
        ({"slope": 1.5}, ValueError, "a slope from 0 to 1"),
        ({"shuffle": 2}, ValueError, "shuffled by 2"),
    ]
    if computed == torch.float32:
        wrong += [
            ({"x": x.bfloat16()}, ValueError, "maps of float32 expected"),
            ({"out": x.bfloat16()}, ValueError, "maps of float32 expected"),
            ({"weight": torch.zeros(1, 16, 32, 64, 1)}, ValueError, r", 32, 1\) expected"),
        ]
    for change, error, message in wrong:
        with pytest.raises(error, match=message):
            torch.ops.ranksrgan.winograd(**{**good, **change})


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere there is no kernel")
def test_wrong_arguments_of_the_way_to_rgb_are_refused_on_any_processor() -> None:
    if not native.status().in_use:
        pytest.skip("no native operators")
    wrong = [
        (maps(32, (5, 6)), torch.rand(32, 27), r"weights \(32, 32\)"),
        (maps(32, (5, 6)), torch.rand(16, 32), r"weights \(32, 32\)"),
        (maps(24, (5, 6)), torch.rand(24, 32), "a multiple of 16 channels expected, got 24"),
    ]
    for x, weights, message in wrong:
        with pytest.raises(ValueError, match=message):
            torch.ops.ranksrgan.convolve_to_rgb(x, weights, torch.rand(3))


def test_only_plain_convolutions_are_replaced() -> None:
    assert fits(nn.Conv2d(32, 64, 3, padding=1))
    assert makes_rgb(nn.Conv2d(64, 3, 3, padding=1))
    assert not fits(nn.Conv2d(64, 3, 3, padding=1))
    others = [
        nn.Conv2d(32, 48, 3, padding=1),
        nn.Conv2d(3, 64, 3, padding=1),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
    ]
    assert not any(fits(other) or makes_rgb(other) for other in others)
