"""Native operators against their PyTorch twins, on one thread or on a GPU."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import medians

from ranksrgan.contracts.device import choose_device
from ranksrgan.metrics import mscn, native, niqe, patch_crops, reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = choose_device(parser.parse_args().device)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    planes = torch.randint(0, 256, (1, 512, 512)).double().to(device)
    images = torch.randint(0, 256, (1, 3, 740, 740), dtype=torch.uint8).to(device)
    photo = torch.randint(0, 256, (1, 3, 512, 512), dtype=torch.uint8).to(device)

    def done(work: Callable[[], object]) -> Callable[[], object]:
        def call() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return call

    mscn(planes)
    status = native.status()
    print(f"native operators in use: {status.in_use} ({status.reason})")
    pairs = {
        "mscn, 512 x 512 float64": (
            lambda: mscn(planes),
            lambda: reference.mscn(planes),
        ),
        "patch_crops, 16 of 296 x 296 from 740 x 740 RGB": (
            lambda: patch_crops(images, 296, 148),
            lambda: reference.patch_crops(images, 296, 148),
        ),
    }
    print(f"{'work':<50}{'native':>10}{'twin':>10}{'ratio':>8}")
    for name, (ours, twin) in pairs.items():
        found = medians({"native": done(ours), "twin": done(twin)}, rounds=15)
        print(
            f"{name:<50}{1e3 * found['native']:>7.2f} ms{1e3 * found['twin']:>7.2f} ms"
            f"{found['twin'] / found['native']:>8.1f}"
        )
    (seconds,) = medians({"niqe": done(lambda: niqe(photo))}, rounds=15).values()
    print(f"{'NIQE, 512 x 512, whole':<50}{1e3 * seconds:>7.2f} ms")


if __name__ == "__main__":
    main()
