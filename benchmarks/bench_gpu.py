"""What a GPU does: enlarging 1080p by 4, and training at the published settings.

Both against eager float32.

Every line has its rate as a share of this GPU's own bfloat16 matrix rate, measured first: two
operations for each product of a convolution's weights, three times that for a training step's
forward and backward pass. "Eager float32" is PyTorch's own way, with TF32 convolutions (the network
as it stands, NCHW, for enlarging; our step, launched kernel by kernel, for training); "exact" is
the same without TF32. A recorded step is one CUDA graph (``run.graph``, the default), also where
the networks are compiled (``run.compile``). VGG19 of the perceptual loss has random weights, which
cost the same. All alternatives take turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench_generator_step import random_vgg19
from bench_upscale import convolution_flops
from torch import Tensor, nn

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.device import choose_device, place, tf32
from ranksrgan.contracts.errors import NotSupported
from ranksrgan.contracts.processes import Processes
from ranksrgan.srgan import GeneratorUpscaler, SRResNet
from ranksrgan.srgan.config import TrainConfig, load_recipe
from ranksrgan.srgan.data.crops import Batch
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.training.encoders import Encoder, VGG19Features
from ranksrgan.srgan.training.objective import Objective
from ranksrgan.srgan.training.state import Training
from ranksrgan.srgan.training.step import Step

NETWORKS: dict[str, Callable[[], Generator]] = {"SRResNet": SRResNet, "RRDBNet": RRDBNet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="in a measurement of training")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="saves minutes")
    parser.add_argument("--only", nargs="+", choices=("upscale", "train"), default=())
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: left out")
        return
    device = choose_device("cuda")
    rate = _matrix_rate(device)
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}")
    print(f"bfloat16 matrix products of 8192: {rate / 1e12:.0f} TFLOP/s")
    if "train" not in given.only or "upscale" in given.only:
        for name, network in NETWORKS.items():
            _upscale(name, network, given, device, rate)
    if "upscale" not in given.only or "train" in given.only:
        _train(given, device, rate)


def _upscale(
    name: str,
    make: Callable[[], Generator],
    given: argparse.Namespace,
    device: torch.device,
    rate: float,
) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, given.height, given.width, device=device)
    flops = convolution_flops(make(), 8) * given.height * given.width / 64
    plain = make().eval().to(device)
    state = plain.state_dict()
    ways: dict[str, Callable[[], Tensor]] = {
        "eager float32": lambda: _eager(plain, image, allow_tf32=True),
        "eager float32, exact": lambda: _eager(plain, image, allow_tf32=False),
    }
    for precision in ("float32", "bfloat16", "float16"):
        network = make()
        network.load_state_dict(state)
        try:
            upscaler = GeneratorUpscaler(network, device=device, precision=precision)
        except NotSupported as reason:
            print(f"  {reason}")
        else:
            ways[f"ours, {precision}"] = partial(upscaler.upscale, image)
    print(f"{name}, x4 of {given.width} x {given.height}: {flops / 1e12:.1f} TFLOP")
    times, peaks = _in_turns(ways, given.rounds, device)
    for way, seconds in times.items():
        print(
            f"  {way:<24}{1e3 * seconds:>9.1f} ms{times['eager float32'] / seconds:>7.2f}x"
            f"{100 * flops / seconds / rate:>7.1f} % of the matrix rate"
            f"{peaks[way] / 2**30:>7.1f} GiB"
        )


def _eager(network: nn.Module, image: Tensor, *, allow_tf32: bool) -> Tensor:
    with torch.no_grad(), tf32(allow_tf32, image.device):
        enlarged: Tensor = network(image)
    return enlarged.clamp_(0, 1)


def _train(given: argparse.Namespace, device: torch.device, rate: float) -> None:
    for recipe in ("srresnet", "srgan_control"):
        config = load_recipe(recipe, ["data.hr=unused"])
        flops = _step_flops(config)
        batch = _batch(config)
        ways: dict[str, Callable[[], object]] = {}
        for way, run, bfloat16, allow_tf32 in (
            ("eager float32", {"graph": False}, False, True),
            ("eager float32, exact", {"graph": False}, False, False),
            ("ours, bfloat16, eager", {"graph": False}, True, False),
            ("ours, bfloat16, recorded", {}, True, False),
            ("ours, bfloat16, compiled", {"compile": True}, True, False),
        ):
            if run.get("compile") and not given.compile:
                continue
            step = _step(config, device, run, bfloat16=bfloat16)
            ways[way] = _steps(step, batch, given.steps, allow_tf32, device)
        size = f"batch {config.data.batch}, crop {config.data.crop}"
        print(f"training {recipe}, {size}: {flops / 1e12:.2f} TFLOP a step")
        times, peaks = _in_turns(ways, given.rounds, device)
        for way, seconds in times.items():
            once = seconds / given.steps
            print(
                f"  {way:<26}{1 / once:>7.1f} steps/s{times['eager float32'] / seconds:>7.2f}x"
                f"{100 * flops / once / rate:>7.1f} % of the matrix rate"
                f"{peaks[way] / 2**30:>7.1f} GiB"
            )


def _step(
    config: TrainConfig, device: torch.device, run: dict[str, bool], *, bfloat16: bool
) -> Step:
    config = config.model_copy(update={"run": config.run.model_copy(update=run)})
    training = Training.start(config, device)
    features = _features(device) if config.losses.perceptual.weight else None
    return Step(training, Objective(config, [], features), Processes(0, 1, device), bfloat16)


def _features(device: torch.device) -> Encoder:
    with tempfile.TemporaryDirectory() as scratch:
        return place(VGG19Features(load_weights(random_vgg19(Path(scratch)))), device)


def _steps(
    step: Step, batch: Batch, count: int, allow_tf32: bool, device: torch.device
) -> Callable[[], object]:
    def run() -> None:
        with tf32(allow_tf32, device):
            for _ in range(count):
                step(batch)

    return run


def _batch(config: TrainConfig) -> Batch:
    random = torch.Generator().manual_seed(0)
    side = config.data.crop
    hr = torch.randint(256, (config.data.batch, 3, side, side), generator=random)
    return Batch(hr[:, :, ::4, ::4].byte().contiguous(), hr.byte())


def _step_flops(config: TrainConfig) -> float:
    """Forward and backward of the generator, and of the discriminator, which a step passes
    forward three times (real, fake, and fake for the generator) and backward as often; VGG19
    forward for both pictures, and backward to one of them."""
    side = config.data.crop
    generator = SRResNet(config.generator.features, config.generator.blocks)
    flops = 3 * convolution_flops(generator, 8) * (side / 32) ** 2
    cpu = torch.device("cpu")
    discriminator = Training.start(config, cpu).discriminator
    if discriminator is not None:
        flops += 3 * 3 * _layers_flops(discriminator, side)
    if config.losses.perceptual.weight:
        flops += 3 * _layers_flops(_features(cpu), side)
    return flops * config.data.batch


def _layers_flops(network: nn.Module, side: int) -> float:
    """Of the convolutions, forward, for one square picture."""
    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.get_parameter("weight")
        counted.append(2 * weight.numel() * output.shape[2] * output.shape[3])

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.rand(1, 3, side, side))
    return sum(counted)


def _in_turns(
    ways: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds of each, and the most memory that each held."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int] = {}
    for round_ in range(rounds + 1):  # the first warms up
        for way, work in ways.items():
            torch.cuda.reset_peak_memory_stats(device)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize(device)
            if round_:
                times[way].append(begin.elapsed_time(end) / 1e3)
            # What a CUDA graph takes is seen while it is recorded, and never again.
            peaks[way] = max(peaks.get(way, 0), torch.cuda.max_memory_allocated(device))
    return {way: statistics.median(found) for way, found in times.items()}, peaks


def _matrix_rate(device: torch.device, size: int = 8192) -> float:
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times, _ = _in_turns({"product": lambda: [a @ b for _ in range(10)]}, 5, device)
    return 10 * 2 * size**3 / times["product"]


if __name__ == "__main__":
    main()
