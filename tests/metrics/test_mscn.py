"""`mscn`: the twin against SciPy, the compiled operator against the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.metrics import native, reference
from ranksrgan.metrics.mscn import Mscn, mscn
from ranksrgan.metrics.reference.mscn import TAPS

SHAPES = [(1, 1, 1), (2, 1, 9), (2, 9, 1), (3, 2, 2), (2, 13, 20), (1, 40, 37), (0, 8, 8)]


@pytest.fixture
def compiled() -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    mscn(torch.zeros(1, 1, 1))  # registers the fake kernel and the gradient
    operator: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = torch.ops.ranksrgan.mscn.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def photograph_like(*shape: int) -> Tensor:
    """Noise and a flat part with fractional values, float64 on 0..255."""
    planes = torch.rand(shape, dtype=torch.float64) * 255
    planes[..., : shape[-2] // 2, :] = 77.7
    return planes


def by_scipy(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The definition with a full 7x7 window, from the formula of the Gaussian."""
    offsets = np.arange(-3, 4)
    taps = np.exp(-(offsets**2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = correlate(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(correlate(plane**2, window, mode="nearest") - mean**2))
    difference = plane - mean
    difference[np.abs(difference) < 1e-9] = 0
    return difference / (deviation + 1), mean, deviation


def test_the_window_is_the_normalised_gaussian() -> None:
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    assert pytest.approx(taps[:4] / taps.sum(), abs=1e-16) == TAPS


@pytest.mark.parametrize("shape", SHAPES)
def test_twin_equals_scipy(shape: tuple[int, int, int]) -> None:
    planes = torch.rand(shape, dtype=torch.float64) * 255
    for index, results in enumerate(zip(*reference.mscn(planes), strict=True)):
        expected = by_scipy(planes[index].numpy())
        # One pixel is a flat window, where the root turns 1e-12 into 1e-6.
        tolerance = 1e-5 if shape[1:] == (1, 1) else 1e-9
        for value, wanted in zip(results, expected, strict=True):
            assert np.abs(value.numpy() - wanted).max() < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("contiguous", [True, False])
def test_native_equals_twin(
    compiled: Callable[..., tuple[Tensor, ...]], shape: tuple[int, int, int], contiguous: bool
) -> None:
    planes = photograph_like(*shape)
    if not contiguous:
        planes = planes.transpose(1, 2).contiguous().transpose(1, 2)
    for value, wanted in zip(compiled(planes), reference.mscn(planes), strict=True):
        assert value.dtype == torch.float64
        assert value.shape == planes.shape
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_native_equals_twin_in_float32(
    compiled: Callable[..., tuple[Tensor, ...]], shape: tuple[int, int, int]
) -> None:
    planes = photograph_like(*shape).float()
    for value, wanted in zip(compiled(planes), reference.mscn(planes), strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted, rtol=1.2e-7, atol=0)


def test_float32_is_computed_in_float64() -> None:
    planes = photograph_like(1, 12, 12).float()
    for value, exact in zip(mscn(planes), mscn(planes.double()), strict=True):
        assert torch.equal(value, exact.float())


@pytest.mark.parametrize("value", [0.0, 16.0, 77.7, 1 / 3, 255.0])
@pytest.mark.parametrize("function", [mscn, reference.mscn])
def test_flat_planes_are_snapped(
    function: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], value: float
) -> None:
    normalised, mean, deviation = function(torch.full((1, 9, 9), value, dtype=torch.float64))
    assert torch.equal(normalised, torch.zeros_like(normalised))
    assert (mean - value).abs().max() < 1e-12
    assert deviation.max() < 1e-5


@pytest.mark.parametrize("function", [mscn, reference.mscn])
def test_snap_stops_at_the_threshold(
    function: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
) -> None:
    # The centre weighs 0.117 in its own mean, so the difference is 0.883 of the step.
    for step, snapped in ((0.9e-9, True), (2e-9, False)):
        planes = torch.zeros(1, 9, 9, dtype=torch.float64)
        planes[0, 4, 4] = step
        assert (function(planes)[0][0, 4, 4] == 0) == snapped


def test_a_plane_does_not_depend_on_its_batch() -> None:
    planes = photograph_like(5, 21, 19)
    for function in (mscn, reference.mscn):
        together = function(planes)
        for index in range(5):
            for value, alone in zip(together, function(planes[index : index + 1]), strict=True):
                assert torch.equal(value[index], alone[0])


def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Callable[..., tuple[Tensor, ...]], threads: Callable[[int], None]
) -> None:
    planes = photograph_like(3, 220, 210)
    threads(1)
    alone = compiled(planes)
    threads(4)
    for value, wanted in zip(compiled(planes), alone, strict=True):
        assert torch.equal(value, wanted)


def test_mirroring_the_plane_mirrors_the_result() -> None:
    planes = photograph_like(2, 12, 17)
    for value, mirrored in zip(mscn(planes), mscn(planes.flip(1, 2)), strict=True):
        assert torch.equal(value, mirrored.flip(1, 2))


@pytest.mark.parametrize("function", [mscn, reference.mscn])
def test_gradient(function: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]) -> None:
    planes = (torch.rand(2, 4, 5, dtype=torch.float64) * 20).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(function(x)), (planes,))
    assert torch.autograd.gradgradcheck(lambda x: tuple(function(x)), (planes[:1, :3, :3],))


def test_gradient_in_a_flat_plane_is_that_of_the_smooth_function() -> None:
    planes = torch.zeros(1, 9, 9, dtype=torch.float64, requires_grad=True)
    mscn(planes).normalised[0, 4, 4].backward()
    window = torch.tensor([*TAPS, *TAPS[-2::-1]], dtype=torch.float64)
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[1:8, 1:8] = -torch.outer(window, window)
    expected[4, 4] += 1
    assert planes.grad is not None
    torch.testing.assert_close(planes.grad[0], expected, rtol=0, atol=1e-15)


def test_opcheck(compiled: Callable[..., tuple[Tensor, ...]]) -> None:
    for shape in ((2, 5, 6), (0, 3, 3)):
        planes = (torch.rand(shape, dtype=torch.float64) * 255).requires_grad_()
        torch.library.opcheck(compiled, (planes,))
    torch.library.opcheck(compiled, (torch.rand(1, 6, 5).transpose(1, 2),))


def test_torch_compile_sees_through(compiled: Callable[..., tuple[Tensor, ...]]) -> None:
    planes = photograph_like(1, 9, 9)
    traced = torch.compile(lambda x: mscn(x).deviation + 1, fullgraph=True, backend="eager")
    assert torch.equal(traced(planes), mscn(planes).deviation + 1)


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        (torch.zeros(8, 8), r"planes: shape \(N, H, W\) with H, W >= 1 wanted, got \(8, 8\)"),
        (torch.zeros(1, 0, 8), r"planes: shape .* got \(1, 0, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"planes: shape .* got \(1, 3, 8, 8\)"),
        (
            torch.zeros(1, 8, 8, dtype=torch.uint8),
            "planes: float32 or float64 wanted, got torch.uint8",
        ),
        (torch.zeros(1, 8, 8, dtype=torch.float16), "got torch.float16"),
    ],
)
def test_rejected_input(planes: Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        mscn(planes)
    assert caught.value.field == "planes"


def test_the_operator_rejects_by_itself(compiled: Callable[..., tuple[Tensor, ...]]) -> None:
    with pytest.raises(TypeError, match="mscn: float32 or float64 planes expected, got Half"):
        compiled(torch.zeros(1, 8, 8, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"mscn: planes of shape \(N, H, W\).*got \[8, 8\]"):
        compiled(torch.zeros(8, 8))


def test_named_results() -> None:
    result = mscn(torch.rand(1, 3, 3))
    assert isinstance(result, Mscn)
    assert result._fields == ("normalised", "mean", "deviation")


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_cpu(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    planes = photograph_like(*shape).to(dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-5
    for value, wanted in zip(mscn(planes.cuda()), mscn(planes), strict=True):
        assert value.is_cuda
        torch.testing.assert_close(value.cpu(), wanted, rtol=0, atol=tolerance)
