"""Native operators against their PyTorch twins, one thread."""

from __future__ import annotations

import torch
from timing import medians

from ranksrgan.metrics import mscn, native, niqe, patch_crops, reference


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    planes = torch.randint(0, 256, (1, 512, 512)).double()
    images = torch.randint(0, 256, (1, 3, 740, 740), dtype=torch.uint8)
    photo = torch.randint(0, 256, (1, 3, 512, 512), dtype=torch.uint8)
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
        found = medians({"native": ours, "twin": twin}, rounds=15)
        print(
            f"{name:<50}{1e3 * found['native']:>7.2f} ms{1e3 * found['twin']:>7.2f} ms"
            f"{found['twin'] / found['native']:>8.1f}"
        )
    (seconds,) = medians({"niqe": lambda: niqe(photo)}, rounds=15).values()
    print(f"{'NIQE, 512 x 512, whole':<50}{1e3 * seconds:>7.2f} ms")


if __name__ == "__main__":
    main()
