"""Enlarging a photograph with SRResNet: the plain way, ours, onnxruntime and OpenVINO.

The plain way is the network as it stands: float32, NCHW, the whole image at once. Each way has a
process of its own, so that peak memory can be told apart, and they take turns. Seconds are medians,
of the clock and of the processor: on a machine that others use the second says more. The floor is
what the network's convolutions would take at the rate of this machine's direct convolutions, in
bfloat16 or float32, whichever is faster. Ours goes below it where Winograd's convolutions serve,
which multiply less. In the end the command itself enlarges one file and then five: what each
further file costs, decoded and encoded, and what the process takes of memory at its peak,
interpreter and libraries included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image
from timing import medians
from torch import Tensor, nn

from ranksrgan.contracts import heaps
from ranksrgan.contracts.errors import NotSupported
from ranksrgan.srgan import GeneratorUpscaler, SRResNet, load_generator
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.upscaling.onnx_export import export_onnx

Enlarge = Callable[[Tensor], Tensor]

FLOOR = "convolution rate"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="side of the photograph, up to 512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="instead of random ones, 16 blocks of 64")
    parser.add_argument("--only", nargs="+", choices=sorted(WAYS), default=sorted(WAYS))
    given = parser.parse_args()
    network = _network(given.weights)
    flops = convolution_flops(network, given.size)
    print(f"{network.architecture}, {given.size} x {given.size}, {given.threads} threads")
    print(f"weights: {given.weights or 'random (He)'}; {flops / 1e9:.0f} GFLOP in convolutions")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        try:
            export_onnx(network, model)
        except NotSupported as reason:
            print(f"no ONNX model: {reason}")
        workers = {name: _Worker(name, given, model) for name in given.only}
        workers = {name: worker for name, worker in workers.items() if worker.there}
        for _ in range(given.rounds):
            for worker in workers.values():
                worker.run_once()
    _print(workers, flops)
    if "ours" in given.only:
        _time_command(given)


class _Worker:
    """One way of enlarging, in a process of its own."""

    def __init__(self, name: str, given: argparse.Namespace, model: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, given, model))
        self._process.start()
        self.seconds: list[tuple[float, float]] = []
        answer = self._ours.recv()
        self.there = answer is None
        if not self.there:
            print(f"{name}: {answer}")

    def run_once(self) -> None:
        self._ours.send(True)
        self.seconds.append(self._ours.recv())

    def finish(self) -> tuple[Tensor, float]:
        """The picture, and by how many bytes the process grew at its peak."""
        self._ours.send(False)
        picture, grown = self._ours.recv()
        self._process.join()
        return torch.from_numpy(picture), grown


def _serve(pipe: Connection, name: str, given: argparse.Namespace, model: Path) -> None:
    torch.set_num_threads(given.threads)
    torch.set_grad_enabled(False)
    photograph = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    image = photograph[..., : given.size, : given.size].contiguous()
    try:
        enlarge = WAYS[name](_network(given.weights), model, given.threads)
    except (ImportError, FileNotFoundError) as reason:
        pipe.send(str(reason))
        return
    enlarge(image[..., :64, :64])  # warm up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = image
    pipe.send(None)
    while pipe.recv():
        clock, processor = time.perf_counter(), time.process_time()
        made = enlarge(image)
        pipe.send((time.perf_counter() - clock, time.process_time() - processor))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send((made.clamp(0, 1).numpy(), grown * 1024))


def _time_command(given: argparse.Namespace) -> None:
    photograph = Image.fromarray(skimage.data.astronaut()[: given.size, : given.size])
    seconds: list[float] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(given.rounds):
            for count in (1, _FILES):
                folder = Path(tempfile.mkdtemp(dir=scratch))
                for number in range(count):
                    photograph.save(folder / f"{number}.png")
                command = [sys.executable, "-m", "ranksrgan.srgan.cli", "upscale", str(folder)]
                command += ["-o", str(folder / "large"), "--precision", "auto"]
                command += ["--model", str(given.weights)] if given.weights else []
                clock = time.perf_counter()
                environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
                process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                if status:
                    raise SystemExit(f"{' '.join(command)}: {os.waitstatus_to_exitcode(status)}")
                seconds.append(time.perf_counter() - clock)
                peaks.append(usage.ru_maxrss / 1024)
    further = [
        (many - one) / (_FILES - 1) for one, many in zip(seconds[::2], seconds[1::2], strict=True)
    ]
    print(
        f"{'the command':<16}{statistics.median(further):>9.2f} s a file, after "
        f"{statistics.median(seconds[::2]):.2f} s with the first; {max(peaks):.0f} MiB in all"
    )


# Files that the command enlarges, against one.
_FILES = 5


def _plain(network: Generator, model: Path, threads: int) -> Enlarge:
    return network


def _ours(network: Generator, model: Path, threads: int) -> Enlarge:
    heaps.keep_for_a_command()  # as the command that upscales does
    return GeneratorUpscaler(network, precision="auto").upscale


def _ours_in_float32(network: Generator, model: Path, threads: int) -> Enlarge:
    heaps.keep_for_a_command()
    return GeneratorUpscaler(network).upscale


def _onnxruntime(network: Generator, model: Path, threads: int) -> Enlarge:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    return lambda image: torch.from_numpy(session.run(None, {"images": image.numpy()})[0])


def _openvino(network: Generator, model: Path, threads: int) -> Enlarge:
    return _compiled_by_openvino(model, threads, {})


def _openvino_in_float32(network: Generator, model: Path, threads: int) -> Enlarge:
    return _compiled_by_openvino(model, threads, {"INFERENCE_PRECISION_HINT": "f32"})


def _compiled_by_openvino(model: Path, threads: int, options: dict[str, str]) -> Enlarge:
    import openvino

    compiled = openvino.Core().compile_model(
        str(model.resolve(strict=True)),
        "CPU",
        {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **options},
    )
    return lambda image: torch.from_numpy(np.array(compiled([image.numpy()])[0]))


def _rate(network: Generator, model: Path, threads: int) -> Enlarge:
    """In bfloat16 or float32, whichever is faster here."""
    layers = {str(dtype): _layer(dtype) for dtype in (torch.bfloat16, torch.float32)}
    seconds = medians(layers, rounds=1)
    faster = layers[min(seconds, key=seconds.__getitem__)]

    def convolve(image: Tensor) -> Tensor:
        for _ in range(RATE_REPEATS):
            faster()
        return image

    return convolve


def _layer(dtype: torch.dtype) -> Callable[[], Tensor]:
    layer = nn.Conv2d(64, 64, 3, padding=1).to(dtype, memory_format=torch.channels_last)
    maps = torch.rand(1, 64, 256, 256).to(dtype, memory_format=torch.channels_last)
    return lambda: layer(maps)


RATE_REPEATS = 50
RATE_FLOPS = RATE_REPEATS * 2 * 9 * 64 * 64 * 256 * 256

WAYS: dict[str, Callable[[Generator, Path, int], Enlarge]] = {
    "plain": _plain,
    "ours": _ours,
    "ours, float32": _ours_in_float32,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "openvino, f32": _openvino_in_float32,
    FLOOR: _rate,
}


def convolution_flops(network: Generator, side: int) -> float:
    """Two for each product of a convolution's weights, in an image of this side."""
    counted: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.get_parameter("weight")
        counted.append(2 * weight.numel() * output.shape[2] * output.shape[3])

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(torch.rand(1, 3, 8, 8))
    for hook in hooks:
        hook.remove()
    return sum(counted) * (side / 8) ** 2


def _network(weights: Path | None) -> Generator:
    torch.manual_seed(0)
    return (load_generator(weights) if weights else SRResNet()).eval()


def _print(workers: dict[str, _Worker], flops: float) -> None:
    medians = {
        name: [statistics.median(column) for column in zip(*worker.seconds, strict=True)]
        for name, worker in workers.items()
    }
    done = {name: worker.finish() for name, worker in workers.items()}
    if FLOOR in medians:
        floor = [seconds * flops / RATE_FLOPS for seconds in medians.pop(FLOOR)]
        print(f"{'floor':<16}{floor[0]:>9.2f} s{floor[1]:>9.2f} s of the processor")
    reference, most = done.get("plain", (None, 0.0))
    for name, (clock, processor) in medians.items():
        picture, grown = done[name]
        line = f"{name:<16}{clock:>9.2f} s{processor:>9.2f} s of the processor"
        line += f"{grown / 2**20:>8.0f} MiB"
        if reference is not None and name != "plain":
            apart = ((picture * 255).round() - (reference * 255).round()).abs()
            line += f"{medians['plain'][0] / clock:>7.2f}x{medians['plain'][1] / processor:>7.2f}x"
            line += f", {grown / most:.2f} of the memory"
            line += f", {100 * float((apart <= 1).double().mean()):.3f} % within 1 of 255"
            error = (picture - reference).double().square().mean()
            line += f", {float(-10 * error.log10()):.1f} dB from it"
        print(line)


if __name__ == "__main__":
    main()
