from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidCheckpoint,
    InvalidInput,
    NotSupported,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.metrics import Bicubic
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.generators import winograd
from ranksrgan.srgan.generators.architectures import ARCHITECTURES
from ranksrgan.srgan.generators.edsr import EDSR
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.msrresnet import MSRResNet
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.winograd import RgbConvolution, WinogradConvolution, usable
from ranksrgan.srgan.upscaling import upscaler as upscaler_module
from ranksrgan.srgan.upscaling.opening import open_generator
from ranksrgan.srgan.upscaling.precision import LEAST_AGREEMENT, by_winograd, in_bfloat16
from ranksrgan.srgan.upscaling.strip_upscaler import PlannedStripUpscaler, StripUpscaler
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

MakeGenerator = Callable[..., SRResNet]


@pytest.fixture
def upscaler(lively: MakeGenerator) -> GeneratorUpscaler:
    return GeneratorUpscaler(lively(), name="small", tile=9)


def test_it_is_the_network_clamped(lively: MakeGenerator) -> None:
    images = torch.rand(2, 3, 13, 10)
    network = lively()
    network.conv_last.weight.data.mul_(8)  # so that there is something to clamp
    with torch.no_grad():
        plain = network(images)
    assert plain.min() < 0
    assert plain.max() > 1
    enlarged = GeneratorUpscaler(network).upscale(images)
    assert enlarged.dtype == torch.float32
    assert enlarged.shape == (2, 3, 52, 40)
    assert not enlarged.requires_grad
    torch.testing.assert_close(enlarged, plain.clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_memory_and_whole_agree(lively: MakeGenerator, scale: int) -> None:
    images = torch.rand(1, 3, 70, 53)
    whole = GeneratorUpscaler(lively(scale=scale))
    tiled = GeneratorUpscaler(lively(scale=scale), tile=17)
    frugal = GeneratorUpscaler(lively(scale=scale), memory=2**20)
    expected = whole.upscale(images)
    torch.testing.assert_close(tiled.upscale(images), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(frugal.upscale(images), expected, rtol=0, atol=1e-6)


def rows_of(images: Tensor, asked: list[tuple[int, int]]) -> Callable[[int, int], Tensor]:
    def read(top: int, bottom: int) -> Tensor:
        asked.append((top, bottom))
        return images[:, :, top:bottom]

    return read


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (150, 1), (141, 83)])
@pytest.mark.parametrize("memory", [2**19, 2**30])
def test_strips_are_the_image(lively: MakeGenerator, size: tuple[int, int], memory: int) -> None:
    images = torch.rand(1, 3, *size)
    upscaler = GeneratorUpscaler(lively(blocks=2), memory=memory)
    assert isinstance(upscaler, StripUpscaler)
    asked: list[tuple[int, int]] = []
    strips = list(upscaler.upscale_strips(rows_of(images, asked), *size))
    torch.testing.assert_close(torch.cat(strips, 2), upscaler.upscale(images), rtol=0, atol=1e-6)
    # Every row is asked for once, in order, and in small memory no strip is large.
    assert [top for top, _ in asked] == [0, *(bottom for _, bottom in asked[:-1])]
    assert asked[-1][1] == size[0]
    # What was asked for when each was made is known before.
    assert isinstance(upscaler, PlannedStripUpscaler)
    asked.clear()
    read = []
    for _ in upscaler.upscale_strips(rows_of(images, asked), *size):
        read.append(asked[-1][1])
    assert upscaler.rows_needed(*size) == read
    if memory == 2**19:
        assert max(strip.numel() * 4 for strip in strips) <= max(memory // 4, 3 * 4 * 16 * size[1])


def test_rows_are_read_no_earlier_than_they_are_needed(lively: MakeGenerator) -> None:
    images = torch.rand(1, 3, 200, 40)
    asked: list[tuple[int, int]] = []
    strips = GeneratorUpscaler(lively(), memory=2**18).upscale_strips(
        rows_of(images, asked), 200, 40
    )
    next(strips)
    assert asked[-1][1] < 100


def test_wrong_rows_are_refused(lively: MakeGenerator) -> None:
    upscaler = GeneratorUpscaler(lively())
    with pytest.raises(InvalidInput, match=r"rows 0 to 9 have the shape \(1, 3, 9, 8\)"):
        next(upscaler.upscale_strips(lambda top, bottom: torch.rand(1, 3, 9, 8), 9, 7))
    with pytest.raises(InvalidInput, match="from 2 to 2"):
        next(upscaler.upscale_strips(lambda top, bottom: torch.full((1, 3, 9, 7), 2.0), 9, 7))


def test_bfloat16_is_close_and_not_equal(lively: MakeGenerator) -> None:
    images = torch.rand(1, 3, 30, 25)
    exact = GeneratorUpscaler(lively(16, 2)).upscale(images)
    upscaler = GeneratorUpscaler(lively(16, 2), precision="bfloat16")
    assert upscaler.precision == "bfloat16"
    fast = upscaler.upscale(images)
    assert fast.dtype == torch.float32
    assert not torch.equal(fast, exact)
    assert -10 * (fast - exact).square().mean().log10() > LEAST_AGREEMENT
    # The picture itself is not made in bfloat16, where values near 1 are 1/256 apart.
    assert len(fast.unique()) > 1000
    tiled = GeneratorUpscaler(lively(16, 2), precision="bfloat16", tile=11).upscale(images)
    assert -10 * (tiled - exact).square().mean().log10() > LEAST_AGREEMENT


def test_a_network_that_bfloat16_spoils_stays_in_float32(
    lively: MakeGenerator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose result is the small difference of large numbers."""

    def touchy() -> SRResNet:
        network = lively(16, 1)
        with torch.no_grad():
            network.HRconv.bias.add_(100)
            network.conv_last.bias.sub_(100 * network.conv_last.weight.sum((1, 2, 3)))
        return network

    with pytest.raises(NotSupported, match=r"dB from that of float32.*precision=float32"):
        GeneratorUpscaler(touchy(), precision="bfloat16")
    monkeypatch.setattr(upscaler_module, "computes_in_bfloat16", lambda *_: True)
    with caplog.at_level("INFO"):
        upscaler = GeneratorUpscaler(touchy(), precision="auto")
    assert upscaler.precision == "float32"
    assert "it computes in float32" in caplog.text
    images = torch.rand(1, 3, 9, 9)
    assert torch.equal(upscaler.upscale(images), GeneratorUpscaler(touchy()).upscale(images))


def test_what_overflows_in_bfloat16_is_computed_again(
    lively: MakeGenerator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscaler = GeneratorUpscaler(lively(16, 2), precision="bfloat16", tile=12)
    convolution = torch.nn.Conv2d.forward

    def overflowing(self: torch.nn.Conv2d, x: Tensor) -> Tensor:
        y = convolution(self, x)
        return y * torch.inf if y.dtype == torch.bfloat16 else y

    monkeypatch.setattr(torch.nn.Conv2d, "forward", overflowing)
    images = torch.rand(1, 3, 20, 20)
    exact = GeneratorUpscaler(lively(16, 2), tile=12).upscale(images)
    assert torch.equal(upscaler.upscale(images), exact)
    assert "once more in float32" in caplog.text


def networks_that_winograd_fits() -> list[Generator]:
    torch.manual_seed(0)
    return [
        SRResNet(32, 2, scale=4),
        SRResNet(64, 2, scale=3),
        MSRResNet(32, 2, scale=2),
        EDSR(32, 2, scale=4, residual_scaling=0.5),
        RRDBNet(32, 1, growth=32, scale=4),
        RRDBNet(32, 1, growth=16, scale=2, unshuffle=2),
    ]


@pytest.mark.parametrize("network", networks_that_winograd_fits(), ids=str)
def test_winograds_convolutions_make_the_same_picture(network: Generator) -> None:
    """By the native operators where they serve, else by their twins."""
    network.eval()
    twin = by_winograd(network)
    kinds = {type(module) for module in twin.modules()}
    assert {WinogradConvolution, RgbConvolution} <= kinds
    images = torch.rand(2, 3, 22, 17)
    with torch.no_grad():
        exact, direct, fast = (net(images) for net in (network, in_bfloat16(network), twin))
    assert not torch.equal(fast, direct)
    errors = [float((made - exact).square().mean().sqrt()) for made in (direct, fast)]
    assert 0 < errors[1] < 2 * errors[0]


def test_what_winograd_spoils_is_computed_by_direct_convolutions(
    lively: MakeGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []

    def measured(exact: Generator, fast: Generator, device: torch.device) -> float:
        tried.append(any(isinstance(module, WinogradConvolution) for module in fast.modules()))
        return 59.0 if tried[-1] else 61.0

    monkeypatch.setattr(winograd, "usable", lambda dtype: True)
    monkeypatch.setattr(upscaler_module, "agreement", measured)
    upscaler = GeneratorUpscaler(lively(32), precision="bfloat16")
    assert upscaler.precision == "bfloat16"
    assert tried == [True, False]
    monkeypatch.setattr(winograd, "usable", lambda dtype: False)
    GeneratorUpscaler(lively(32), precision="bfloat16")
    assert tried == [True, False, False]
    # Few of its layers fit.
    monkeypatch.setattr(winograd, "usable", lambda dtype: True)
    GeneratorUpscaler(ARCHITECTURES["imdn"](), precision="bfloat16")
    assert tried == [True, False, False, False]


@pytest.mark.parametrize("network", networks_that_winograd_fits(), ids=str)
def test_winograds_convolutions_in_float32_make_the_same_picture(network: Generator) -> None:
    network.eval()
    twin = by_winograd(network, torch.float32)
    kinds = {type(module) for module in twin.modules()}
    assert {WinogradConvolution, RgbConvolution} <= kinds
    images = torch.rand(2, 3, 22, 17)
    with torch.no_grad():
        torch.testing.assert_close(twin(images), network(images), rtol=0, atol=2e-5)


@pytest.mark.skipif(
    not usable(torch.bfloat16), reason="no native operators, or no AVX-512 with bfloat16"
)
@pytest.mark.parametrize("memory", [2**23, 2**30])
def test_winograds_convolutions_in_tiles_and_strips(
    lively: MakeGenerator, caplog: pytest.LogCaptureFixture, memory: int
) -> None:
    images = torch.rand(1, 3, 61, 45)
    exact = GeneratorUpscaler(lively(32, 2)).upscale(images)
    with caplog.at_level("INFO"):
        upscaler = GeneratorUpscaler(lively(32, 2), precision="bfloat16", memory=memory)
    assert "in bfloat16 by Winograd's convolutions" in caplog.text
    whole = upscaler.upscale(images)
    strips = list(upscaler.upscale_strips(rows_of(images, []), 61, 45))
    for made in (whole, torch.cat(strips, 2)):
        assert not torch.equal(made, exact)
        # Noise is harder than the probe.
        assert -10 * (made - exact).square().mean().log10() > LEAST_AGREEMENT - 5
    upscaler.upscale(images[..., :1, :1])
    assert "once more" not in caplog.text


@pytest.mark.skipif(
    not usable(torch.bfloat16), reason="no native operators, or no AVX-512 with bfloat16"
)
def test_what_overflows_by_winograd_is_computed_again(
    lively: MakeGenerator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of pixels may pass what bfloat16 and float32 hold where the pixels do not."""
    upscaler = GeneratorUpscaler(lively(32, 2), precision="bfloat16", tile=12)
    convolution = WinogradConvolution.forward
    monkeypatch.setattr(
        WinogradConvolution, "forward", lambda self, x: convolution(self, x * 3e38 * 10)
    )
    images = torch.rand(1, 3, 20, 20)
    exact = GeneratorUpscaler(lively(32, 2), tile=12).upscale(images)
    assert torch.equal(upscaler.upscale(images), exact)
    assert "once more in float32" in caplog.text


def test_an_image_does_not_depend_on_its_batch(upscaler: GeneratorUpscaler) -> None:
    images = torch.rand(3, 3, 12, 14)
    together = upscaler.upscale(images)
    alone = torch.cat([upscaler.upscale(image[None]) for image in images])
    assert torch.equal(together, alone)


def test_threads_do_not_mix_their_images(upscaler: GeneratorUpscaler) -> None:
    images = [torch.rand(1, 3, 20 + i % 3, 25) for i in range(16)]
    serial = [upscaler.upscale(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(upscaler.upscale, images))
    assert all(torch.equal(a, b) for a, b in zip(serial, parallel, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_types_are_computed_in_float32(
    upscaler: GeneratorUpscaler, dtype: torch.dtype
) -> None:
    images = torch.rand(1, 3, 8, 8).to(dtype)
    assert torch.equal(upscaler.upscale(images), upscaler.upscale(images.float()))


def test_an_autocast_around_it_changes_nothing(upscaler: GeneratorUpscaler) -> None:
    images = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = upscaler.upscale(images)
    assert torch.equal(inside, upscaler.upscale(images))


def test_the_result_can_be_trained_on(upscaler: GeneratorUpscaler) -> None:
    factor = torch.ones((), requires_grad=True)
    (factor * upscaler.upscale(torch.rand(1, 3, 4, 4))).mean().backward()
    assert factor.grad is not None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(3, 8, 8), r"\(3, 8, 8\)"),
        (torch.rand(0, 3, 5, 6), r"\(0, 3, 5, 6\)"),
        (torch.rand(1, 1, 8, 8), r"\(1, 1, 8, 8\)"),
        (torch.rand(1, 3, 0, 8), r"\(1, 3, 0, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 255.0), "from 255 to 255"),
        (torch.full((1, 3, 8, 8), -0.1), "from -0.1"),
        (torch.full((1, 3, 8, 8), torch.nan), "nan"),
        (torch.full((1, 3, 8, 8), torch.inf), "inf"),
    ],
)
def test_wrong_images_are_refused(
    upscaler: GeneratorUpscaler, images: Tensor, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        upscaler.upscale(images)
    assert refused.value.field == "images"


def test_a_diverged_network_is_an_error_and_no_black_image(lively: MakeGenerator) -> None:
    network = lively()
    network.conv_first.weight.data.mul_(1e30)
    network.conv_last.weight.data.mul_(1e30)
    with pytest.raises(InvalidCheckpoint, match="small makes NaN or infinite"):
        GeneratorUpscaler(network, name="small").upscale(torch.rand(1, 3, 8, 8))


def test_cancellation_reaches_the_tiles(upscaler: GeneratorUpscaler) -> None:
    with cancellation.scope(lambda: False), pytest.raises(RequestCancelled):
        upscaler.upscale(torch.rand(1, 3, 8, 8))


def test_too_little_memory_names_what_is_needed(lively: MakeGenerator) -> None:
    with pytest.raises(InvalidInput, match=r"it needs \d+ MiB"):
        GeneratorUpscaler(lively(64, 16), memory=2**19)
    with pytest.raises(ImageTooLarge, match=r"it needs memory=\d+ \(MiB\)"):
        GeneratorUpscaler(lively(64, 16), memory=2**21).upscale(torch.rand(1, 3, 90, 90))


def test_catalog(weights_file: Path) -> None:
    catalog = UpscalerCatalog({"small": open_generator(str(weights_file), {}), "plain": Bicubic(2)})
    assert [info.name for info in catalog.infos()] == ["small", "plain"]
    # A client learns the name it asked for, not where the server keeps the weights.
    assert catalog.open("small").info.name == "small"
    assert catalog.open("plain").info.scale == 2
    image = torch.rand(1, 3, 4, 5)
    assert torch.equal(catalog.open("plain").upscale(image), Bicubic(2).upscale(image))
    with pytest.raises(UnknownName, match="there is small, plain"):
        catalog.open("large")


GROWTH = """
import sys
from pathlib import Path

import torch

from ranksrgan.contracts import heaps
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

memory, threads, height, width = map(int, sys.argv[2:])
heaps.keep_for_pictures()
torch.set_num_threads(threads)
network = SRResNet() if sys.argv[1] == "srresnet" else RRDBNet(growth=4)
upscaler = GeneratorUpscaler(network, memory=memory * 2**20)


def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


upscaler.upscale(torch.rand(1, 3, 24, 24))  # whatever is needed once
before = resident("VmRSS")
for strip in upscaler.upscale_strips(lambda a, b: torch.rand(1, 3, b - a, width), height, width):
    del strip
print(resident("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("network", "memory", "threads", "height", "width", "most"),
    [
        ("srresnet", 256, 2, 400, 700, 256 + 307),
        ("srresnet", 64, 2, 300, 400, 64 + 307),
        ("rrdbnet", 128, 1, 120, 120, 128 + 64),
    ],
)
def test_a_process_grows_by_its_memory_and_what_heaps_keep(
    network: str, memory: int, threads: int, height: int, width: int, most: int
) -> None:
    """In MiB. What heaps keep is 0.3 GiB at most of several threads' chunks."""
    arguments = map(str, (memory, threads, height, width))
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, network, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < most


@pytest.mark.cuda
def test_cuda_computes_in_float32_too(lively: MakeGenerator) -> None:
    images = torch.rand(1, 3, 40, 40)
    on_cpu = GeneratorUpscaler(lively(16, 4)).upscale(images)
    on_gpu = GeneratorUpscaler(lively(16, 4), device="cuda").upscale(images)
    tiled = GeneratorUpscaler(lively(16, 4), device="cuda", tile=13).upscale(images)
    assert on_gpu.device.type == "cpu"  # where the images are
    torch.testing.assert_close(on_gpu, on_cpu, rtol=0, atol=1e-5)  # TF32 would miss this
    torch.testing.assert_close(tiled, on_gpu, rtol=0, atol=1e-5)
