"""`nss_features`: the twin against NumPy and SciPy, the compiled operator against the twin."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.ndimage import correlate
from scipy.special import gamma
from torch import Tensor

from ranksrgan.contracts.errors import ImageTooSmall, InvalidInput
from ranksrgan.metrics import native, native_build, reference
from ranksrgan.metrics.aggd import aggd_table
from ranksrgan.metrics.imresize import imresize
from ranksrgan.metrics.luma import luma
from ranksrgan.metrics.nss_features import block_count, nss_features
from ranksrgan.metrics.reference.nss_features import halve

Operator = Callable[[Tensor, Tensor, int, bool, bool], Tensor]
Array = npt.NDArray[np.float64]

DTYPES = [torch.uint8, torch.float32, torch.float64]
TABLE = aggd_table(torch.device("cpu"))


@pytest.fixture
def compiled() -> Operator:
    state = native.status()
    if not state.in_use:
        pytest.skip(f"no native operators: {state.reason}")
    nss_features(torch.zeros(0, 1, 96, 96))  # registers the fake kernel
    operator: Operator = torch.ops.ranksrgan.nss_features.default
    return operator


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def textured(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    """Images of smooth noise, as natural as it takes to have all features."""
    noise = torch.randn(*shape[:2], shape[2] + 4, shape[3] + 4).cumsum(2).cumsum(3)
    noise = torch.nn.functional.avg_pool2d(noise, 5, stride=1)
    noise = 20 * torch.randn(shape) + 60 * noise / noise.std()
    levels = (noise + 120).clamp(0, 255).byte()
    return levels if dtype == torch.uint8 else levels.to(dtype) / 255


def with_flat_parts(images: Tensor) -> Tensor:
    """One flat block, one with one step, one half flat, the rest as it is."""
    images = images.clone()
    level = 77 if images.dtype == torch.uint8 else 77 / 255
    images[..., :120, :220] = level
    images[..., :120, 150:220] = 2 * level
    images[..., 96:192, 192:240] = level
    return images


def by_numpy(plane: Array, side: int) -> Array:
    """The definition: 18 features of each block, with a full window and a scan of the table."""
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    mean = correlate(plane, window, mode="nearest")
    deviation = np.sqrt(np.abs(correlate(plane**2, window, mode="nearest") - mean**2))
    difference = plane - mean
    difference[np.abs(difference) < 1e-9] = 0
    normalised = difference / (deviation + 1)
    rows = []
    for y in range(0, plane.shape[0], side):
        for x in range(0, plane.shape[1], side):
            block = normalised[y : y + side, x : x + side]
            alpha, left, right, _ = fit_by_numpy(block)
            row = [alpha, (left + right) / 2]
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                other = block[(np.arange(side) - dy) % side][:, (np.arange(side) - dx) % side]
                alpha, left, right, eta = fit_by_numpy(block * other)
                row += [alpha, eta, left, right]
            rows.append(row)
    return np.array(rows)


def fit_by_numpy(v: Array) -> tuple[float, float, float, float]:
    shapes = 0.2 + 0.001 * np.arange(9801)
    table = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    left, right = np.sqrt(np.mean(v[v < 0] ** 2)), np.sqrt(np.mean(v[v > 0] ** 2))
    g = left / right
    r = np.mean(np.abs(v)) ** 2 / np.mean(v**2) * (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2
    a = shapes[np.argmin((table - r) ** 2)]
    scale = math.sqrt(gamma(1 / a) / gamma(3 / a))
    return a, left * scale, right * scale, (right - left) * scale * gamma(2 / a) / gamma(1 / a)


def halve_by_numpy(plane: Array) -> Array:
    weights = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    for _ in range(2):
        padded = np.pad(plane, ((3, 3), (0, 0)), mode="symmetric")
        plane = sum(w * padded[k : k + len(plane) : 2] for k, w in enumerate(weights)).T
    return plane


@pytest.mark.parametrize("function", [nss_features, None], ids=["native", "twin"])
def test_against_numpy(function: Callable[[Tensor], Tensor] | None) -> None:
    image = textured(1, 1, 210, 300)
    if function is None:
        features = reference.nss_features(image, TABLE, 0, False, False)
    else:
        features = function(image)
    plane = image[0, 0, :192, :288].double().numpy()
    expected = np.hstack([by_numpy(plane, 96), by_numpy(halve_by_numpy(plane), 48)])
    assert features.shape == (1, 6, 36)
    np.testing.assert_allclose(features[0].numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("border", [0, 5])
def test_native_equals_twin(
    compiled: Operator, dtype: torch.dtype, channels: int, gray: bool, border: int
) -> None:
    images = with_flat_parts(textured(2, channels, 205, 300, dtype=dtype))
    features = compiled(images, TABLE, border, gray, False)
    expected = reference.nss_features(images, TABLE, border, gray, False)
    assert features.dtype == torch.float64
    assert torch.equal(features[..., ::18], expected[..., ::18])
    torch.testing.assert_close(features, expected, rtol=1e-11, atol=1e-13, equal_nan=True)


def test_it_takes_what_is_not_contiguous(compiled: Operator) -> None:
    images = textured(2, 3, 110, 200)
    for view in (images.transpose(2, 3), images[:, :, ::1, 3:], images.flip(3)):
        found = compiled(view, TABLE, 0, False, False)
        assert torch.equal(found, compiled(view.contiguous(), TABLE, 0, False, False))


@pytest.mark.parametrize("gray", [True, False])
def test_luma_is_rounded_as_the_metrics_do(compiled: Operator, gray: bool) -> None:
    """Colours whose luma is a whole number and a half, where rounding errors decide."""
    red, green, blue = torch.meshgrid(*[torch.arange(256)] * 3, indexing="ij")
    ties = (65481 * red + 128553 * green + 24966 * blue) * 2 % 510000 == 255000
    colours = ties.nonzero().byte()
    assert len(colours) == 194
    image = colours[torch.randint(0, 194, (96, 192))].permute(2, 0, 1)[None]
    # The luma of the image as an image of its own has the same features.
    plane = luma(image, "gray" if gray else "y").byte()[None]
    assert torch.equal(
        compiled(image, TABLE, 0, gray, False), compiled(plane, TABLE, 0, gray, False)
    )


def test_levels_of_floats_are_rounded_half_upwards(compiled: Operator) -> None:
    levels = torch.randint(0, 255, (1, 1, 96, 96))
    half_way = (levels.double() + 0.5) / 255  # may fall on either side of it
    for images in (half_way, half_way.float(), (levels.double() + 0.49) / 255):
        rounded = (images.double() * 255 + 0.5).floor().byte()
        found = compiled(images, TABLE, 0, False, False)
        assert torch.equal(found, compiled(rounded, TABLE, 0, False, False))


def test_what_is_outside_the_range_becomes_the_nearest_level(compiled: Operator) -> None:
    images = textured(1, 1, 96, 96, dtype=torch.float32)
    images[..., 0, 0], images[..., 0, 1], images[..., 0, 2] = -1e30, math.inf, math.nan
    clamped = images.nan_to_num(nan=0.0).clamp(0, 1)
    found = compiled(images, TABLE, 0, False, False)
    assert torch.equal(found, compiled(clamped, TABLE, 0, False, False))


def test_half_precision_is_taken_as_it_is(photograph: Callable[[str], Tensor]) -> None:
    images = photograph("camera")[..., :96, :192].half() / 255
    assert torch.equal(nss_features(images), nss_features(images.double()))


@pytest.mark.parametrize("border", [0, 7])
def test_features_in_float32(compiled: Operator, border: int) -> None:
    images = textured(2, 3, 220, 320)
    exact = compiled(images, TABLE, border, False, False)
    single = compiled(images, TABLE, border, False, True)
    twin = reference.nss_features(images, TABLE, border, False, True)
    assert not torch.equal(single, exact)
    for other in (exact, twin):
        # Where the ratio lies half-way between two shapes of the table, either may be taken.
        torch.testing.assert_close(single, other, rtol=2e-3, atol=1e-5)
        assert ((single - other).abs() / other.abs()).median() < 1e-6


def test_halving_is_imresize() -> None:
    plane = torch.randint(0, 256, (96, 192)).double()
    assert torch.equal(halve(plane), imresize(plane, 0.5))


@pytest.mark.parametrize("fast", [False, True])
def test_an_image_does_not_depend_on_its_batch(fast: bool) -> None:
    images = textured(5, 3, 110, 200)
    together = nss_features(images, fast=fast)
    for image, expected in zip(images, together, strict=True):
        assert torch.equal(nss_features(image[None], fast=fast)[0], expected)


def test_a_block_depends_on_its_surroundings_alone() -> None:
    """Nine pixels: three of the window at half size, and the taps of the resize."""
    image = textured(1, 1, 288, 288)
    before = nss_features(image)[0, 4]
    far = image.clone()
    far[..., :87, :] = 0
    far[..., 201:, :] = 255
    assert torch.equal(nss_features(far)[0, 4], before)
    far[..., 201 - 1, 150] ^= 128
    assert not torch.equal(nss_features(far)[0, 4], before)


@pytest.mark.parametrize("fast", [False, True])
def test_values_do_not_depend_on_the_number_of_threads(
    compiled: Operator, threads: Callable[[int], None], fast: bool
) -> None:
    images = textured(3, 3, 210, 310)
    threads(1)
    alone = compiled(images, TABLE, 1, False, fast)
    for number in (2, 3, 7):
        threads(number)
        assert torch.equal(compiled(images, TABLE, 1, False, fast), alone)


def test_threads_share_the_work(compiled: Operator, threads: Callable[[int], None]) -> None:
    """Measured in processor time, which does not depend on what else the machine does."""
    images = torch.randint(0, 256, (40, 3, 288, 288), dtype=torch.uint8)
    threads(2)
    shares = []
    for _ in range(5):
        everybody, me = time.process_time(), time.thread_time()
        compiled(images, TABLE, 0, False, False)
        shares.append((time.thread_time() - me) / (time.process_time() - everybody))
    assert min(shares) < 0.7


PROGRAM = """
#include <cstdio>
#include <memory>
#include <vector>
#include "cpu/block_features.h"

template <typename Real>
void print_features(const std::vector<uint8_t>& plane, const ranksrgan::AggdTable& table) {
  const auto block = std::make_unique<ranksrgan::BlockFeatures<Real>>(table, 192, 192);
  for (int k = 0; k < 4; ++k) {
    double features[36];
    block->compute(plane.data() + ranksrgan::kSlack, k / 2, k % 2, features);
    for (double feature : features) std::printf("%a\\n", feature);
  }
}

int main() {
  std::vector<uint8_t> plane(192 * 192 + 2 * ranksrgan::kSlack);
  uint32_t state = 1;
  for (auto& level : plane) {
    state = state * 1664525u + 1013904223u;
    level = (state >> 26) + (state >> 30) * 40;
  }
  std::vector<double> table(4 * 4000);
  for (int k = 0; k < 16000; ++k) table[k] = 0.2 + 0.0005 * (k % 4000);
  print_features<double>(plane, ranksrgan::aggd_table(table.data(), 4000));
  print_features<float>(plane, ranksrgan::aggd_table(table.data(), 4000));
}
"""


def test_values_do_not_depend_on_the_width_of_the_registers(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX", "c++").split()[0]
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    processors = {"x86-64": "sse2", "x86-64-v3": "avx2", "x86-64-v4": "avx512vl"}
    marches = [march for march, needs in processors.items() if f" {needs} " in flags]
    if len(marches) < 2 or shutil.which(compiler) is None:
        pytest.skip("no compiler, or one width only")
    source = tmp_path / "program.cpp"
    source.write_text(PROGRAM)
    printed = []
    for march in marches:
        program = tmp_path / march
        command = [compiler, "-std=c++20", *native_build.FLAGS, f"-march={march}"]
        command += [f"-I{native_build.SOURCES}", str(source), "-o", str(program)]
        subprocess.run(command, check=True)
        printed.append(subprocess.run([program], check=True, capture_output=True).stdout)
    assert printed[0].count(b"\n") == 2 * 4 * 36
    assert all(output == printed[0] for output in printed)


def test_the_interpreter_is_free_meanwhile(compiled: Operator) -> None:
    images = torch.randint(0, 256, (200, 3, 288, 288), dtype=torch.uint8)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    clock = threading.Thread(target=tick)
    clock.start()
    began = time.perf_counter()
    compiled(images, TABLE, 0, False, False)
    ended = time.perf_counter()
    stop.set()
    clock.join()
    assert sum(began < moment < ended for moment in ticks) > 2


def test_opcheck(compiled: Operator) -> None:
    for images in (
        textured(2, 3, 96, 192),
        textured(1, 1, 200, 100, dtype=torch.float32).transpose(2, 3),
        torch.rand(0, 3, 100, 100, dtype=torch.float64),
    ):
        border = 2 if len(images) == 0 else 0
        torch.library.opcheck(compiled, (images, TABLE, border, True, False))


def test_torch_compile_sees_through(compiled: Operator) -> None:
    images = textured(1, 3, 96, 96)
    traced = torch.compile(
        lambda x: compiled(x, TABLE, 0, False, False) + 1, fullgraph=True, backend="eager"
    )
    assert torch.equal(traced(images), nss_features(images) + 1)


def test_no_gradient() -> None:
    assert not nss_features(torch.rand(1, 3, 96, 96, requires_grad=True)).requires_grad


def test_block_count() -> None:
    images = torch.zeros(1, 3, 200, 300)
    assert [block_count(images, border) for border in (0, 4, 6, 60, 200)] == [6, 6, 3, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message", "field"),
    [
        ((torch.zeros(1, 3, 96, 96, dtype=torch.int32),), "got torch.int32", "images"),
        ((torch.zeros(3, 96, 96),), r"got \(3, 96, 96\)", "images"),
        ((torch.zeros(1, 2, 96, 96),), r"got \(1, 2, 96, 96\)", "images"),
        ((torch.zeros(1, 3, 96, 96), -1), "border of -1", "border"),
        ((torch.zeros(1, 3, 96, 96), 0, "Y"), "no luma 'Y'", "luma"),
    ],
)
def test_rejected_input(arguments: tuple[object, ...], message: str, field: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        nss_features(*arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_images_without_a_block() -> None:
    for shape, border in (((95, 200), 0), ((200, 95), 0), ((100, 200), 3), ((96, 96), 100)):
        with pytest.raises(ImageTooSmall, match=f"border of {border} .* {shape[0]} x {shape[1]}"):
            nss_features(torch.zeros(1, 3, *shape), border)


def test_the_operator_rejects_by_itself(compiled: Operator) -> None:
    images = torch.zeros(1, 3, 96, 96)
    with pytest.raises(TypeError, match="uint8, float32 or float64 images expected, got Half"):
        compiled(images.half(), TABLE, 0, False, False)
    with pytest.raises(ValueError, match=r"shape \(N, 3 or 1, H, W\) expected, got \[3, 96, 96\]"):
        compiled(images[0], TABLE, 0, False, False)
    with pytest.raises(TypeError, match="a float64 table expected, got Float"):
        compiled(images, TABLE.float(), 0, False, False)
    with pytest.raises(ValueError, match=r"a table of shape \(4, T\) expected, got \[3, 9801\]"):
        compiled(images, TABLE[:3], 0, False, False)
    with pytest.raises(ValueError, match="a border of 0 or more expected, got -1"):
        compiled(images, TABLE, -1, False, False)
    with pytest.raises(ValueError, match="at least 96 x 96 inside a border of 1 expected, got 96"):
        compiled(images, TABLE, 1, False, False)
    with pytest.raises(ValueError, match="inside a border of 4611686018427387904 expected"):
        compiled(images, TABLE, 2**62, False, False)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gray", [True, False])
def test_cuda_equals_cpu(dtype: torch.dtype, gray: bool) -> None:
    images = with_flat_parts(textured(3, 3, 205, 300, dtype=dtype))
    name = "gray" if gray else "y"
    found = nss_features(images.cuda(), 2, name)
    assert found.is_cuda
    expected = nss_features(images, 2, name)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-12, equal_nan=True)
    fast = nss_features(images.cuda(), 2, name, fast=True).cpu()
    torch.testing.assert_close(fast, expected, rtol=2e-3, atol=1e-5, equal_nan=True)


@pytest.mark.cuda
def test_cuda_runs_on_the_current_stream_without_waiting() -> None:
    images = textured(4, 3, 200, 300).cuda()
    expected = nss_features(images)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode may miss some
        try:
            torch.cuda.set_sync_debug_mode("error")
            found = nss_features(images)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    stream.synchronize()
    assert torch.equal(found, expected)
