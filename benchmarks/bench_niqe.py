"""NIQE against a straightforward NumPy version, on more threads, and on many crops.

Prints the bars of the project beside what this machine does. On one thread, times are the process's
own (``time.process_time``), which a busy machine changes less; otherwise they are those of the
clock. All are minima, of alternatives that take turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy_niqe
import skimage.data
import torch
from torch import Tensor

from ranksrgan.metrics import native
from ranksrgan.metrics.niqe import NiqeModel, niqe

ROUNDS = {"512 x 512": 12, "2040 x 1356": 3}
# Of ours for each of NumPy's: the shorter the work, the likelier something else gets in between.
REPEATS = 25

CROPS = (1, 10, 100, 1000)
CROP = 296


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["numpy", "threads", "crops"])
    part = parser.parse_args().part
    if part is None:
        # Each in a process of its own: one has all threads, one tells its peak of memory.
        for name, threads in (("numpy", "1"), ("threads", "2"), ("crops", "1")):
            environment = os.environ | {"OMP_NUM_THREADS": threads}
            subprocess.run([sys.executable, __file__, name], env=environment, check=True)
        return
    niqe(torch.rand(1, 3, 96, 192))  # compiles and loads
    {"numpy": against_numpy, "threads": on_two_threads, "crops": on_crops}[part]()


def photographs() -> dict[str, Tensor]:
    """``(1, 3, H, W)`` uint8."""
    small = skimage.data.astronaut()
    coffee = skimage.data.coffee()
    height, width = coffee.shape[:2]
    large = np.pad(coffee, ((0, 1356 - height), (0, 2040 - width), (0, 0)), mode="symmetric")
    return {
        name: torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
        for name, pixels in (("512 x 512", small), ("2040 x 1356", large))
    }


def against_numpy() -> None:
    torch.set_num_threads(1)
    model = NiqeModel.published()
    mean, covariance = model.mean.numpy(), model.covariance.numpy()
    state = native.status()
    print(f"native operators: {state.in_use} ({state.reason}), {state.facts.get('simd', '')}")
    print("\none thread, against NumPy (bar: 80 times as fast, equal to 1e-6)")
    print(f"{'image':<14}{'as':<16}{'NumPy':>11}{'ours':>11}{'ratio':>8}{'difference':>13}")
    for name, image in photographs().items():
        pixels = image[0].permute(1, 2, 0).contiguous().numpy()
        floats = image.float() / 255
        kinds: dict[str, Callable[[], Tensor]] = {
            "uint8": lambda image=image: niqe(image),
            "float32": lambda floats=floats: niqe(floats),
            "uint8, fast": lambda image=image: niqe(image, fast=True),
        }
        numpys: Callable[[], float] = lambda pixels=pixels: numpy_niqe.niqe(  # noqa: E731
            pixels, mean, covariance
        )
        expected = numpys()
        work: dict[str, tuple[Callable[[], object], int]] = {"NumPy": (numpys, 1)}
        work |= {kind: (call, REPEATS) for kind, call in kinds.items()}
        found = minima(work, ROUNDS[name], time.process_time)
        for kind, call in kinds.items():
            print(
                f"{name:<14}{kind:<16}{1e3 * found['NumPy']:>8.1f} ms{1e3 * found[kind]:>8.2f} ms"
                f"{found['NumPy'] / found[kind]:>8.1f}{float(call()) - expected:>13.1e}"
            )


def on_two_threads() -> None:
    print("\ntwo threads (bar: 1.7 times as fast as one; two idle cores are needed)")
    print(f"{'image':<16}{'one':>11}{'two':>11}{'ratio':>8}")

    def on(threads: int, images: Tensor) -> Callable[[], Tensor]:
        def call() -> Tensor:
            torch.set_num_threads(threads)
            return niqe(images)

        return call

    batches = photographs()
    batches["1020 x 680"] = batches["2040 x 1356"][..., :680, :1020].contiguous()
    batches["16 x 296 x 296"] = crops(16)
    for name, images in batches.items():
        repeats = max(1, 8_000_000 // images.numel())
        work = {str(threads): (on(threads, images), repeats) for threads in (1, 2)}
        found = minima(work, 40, time.perf_counter)
        print(
            f"{name:<16}{1e3 * found['1']:>8.2f} ms{1e3 * found['2']:>8.2f} ms"
            f"{found['1'] / found['2']:>8.2f}"
        )


def on_crops() -> None:
    torch.set_num_threads(1)
    images = crops(max(CROPS))
    single = photographs()["512 x 512"]
    work: dict[str, tuple[Callable[[], object], int]] = {"single": (lambda: niqe(single), REPEATS)}
    for count in CROPS:
        work[str(count)] = (lambda count=count: niqe(images[:count]), max(1, 100 // count))
    before = peak()
    found = minima(work, 5, time.process_time)
    print(
        f"\ncrops of {CROP} x {CROP} in one call, one thread (bar: below 1 GB, and 90 % of the rate"
    )
    print("of a single image; pixels are those in whole blocks, beside the share of 512 x 512)")
    print(f"{'crops':>6}{'time':>12}{'each':>11}{'of one crop':>13}{'of 512 x 512':>14}")
    rate = (512 // 96 * 96) ** 2 / found["single"]
    for count in CROPS:
        each = found[str(count)] / count
        own = (CROP // 96 * 96) ** 2 / each
        print(
            f"{count:>6}{1e3 * found[str(count)]:>9.1f} ms{1e6 * each:>8.0f} us"
            f"{found['1'] / each:>13.0%}{own / rate:>14.0%}"
        )
    print(f"peak memory {peak():.0f} MB, {peak() - before:.0f} MB of it while scoring")


def crops(count: int) -> Tensor:
    """``(count, 3, 296, 296)`` uint8 of a photograph."""
    image = photographs()["2040 x 1356"][0]
    step = (image.shape[1] - CROP) * (image.shape[2] - CROP) // count
    found = torch.empty(count, 3, CROP, CROP, dtype=torch.uint8)
    for k in range(count):
        top, left = divmod(k * step, image.shape[2] - CROP)
        found[k] = image[:, top : top + CROP, left : left + CROP]
    return found


def peak() -> float:
    """The most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def minima(
    work: Mapping[str, tuple[Callable[[], object], int]],
    rounds: int,
    clock: Callable[[], float],
) -> dict[str, float]:
    """Least seconds of each piece of work: in ``rounds`` turns, each so many times in a row."""
    least = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, (call, repeats) in work.items():
            for _ in range(repeats):
                began = clock()
                call()
                least[name] = min(least[name], clock() - began)
    return least


if __name__ == "__main__":
    main()
