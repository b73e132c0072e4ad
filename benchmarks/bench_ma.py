"""The features of Ma with native operators, with their twins and in plain NumPy, one thread.

Each way is a process of its own: the operators are chosen once a process, and the peak memory is
that of everything, Python and PyTorch included.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

SIZES = ((512, 512), (1356, 2040))
WAYS = {"native": "require", "twins": "off", "NumPy": "off"}


def measure(way: str, height: int, width: int) -> dict[str, object]:
    """In a process that does nothing else."""
    import ma_numpy
    import numpy as np
    import skimage.data
    import torch
    from timing import medians

    from ranksrgan.metrics.luma import luma
    from ranksrgan.metrics.ma.scorer import ma_features

    torch.set_num_threads(1)
    photograph = skimage.data.coffee()
    after = ((0, max(0, height - 400)), (0, max(0, width - 600)), (0, 0))
    pixels = np.pad(photograph, after, mode="symmetric")[:height, :width]
    images = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    plane = luma(images)[0].numpy()
    call = (lambda: ma_numpy.features(plane)) if way == "NumPy" else (lambda: ma_features(images))
    found = np.asarray(call()).ravel()  # also the warm-up
    before_second = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (seconds,) = medians({way: call}, rounds=7 if height < 1000 else 3).values()
    return {"seconds": seconds, "mebibytes": before_second / 1024, "features": found.tolist()}


def main() -> None:
    if len(sys.argv) == 4:
        way, height, width = sys.argv[1:]
        print(json.dumps(measure(way, int(height), int(width))))
        return
    print(f"{'Ma features':<14}{'way':<10}{'time':>10}{'peak memory':>14}{'differs by':>12}")
    for height, width in SIZES:
        native: list[float] = []
        for way, mode in WAYS.items():
            environment = os.environ | {"RANKSRGAN_NATIVE": mode, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, way, str(height), str(width)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
            found = json.loads(done.stdout)
            native = native or found["features"]
            difference = max(
                abs(a - b) / abs(b) for a, b in zip(found["features"], native, strict=True)
            )
            print(
                f"{f'{width} x {height}':<14}{way:<10}{found['seconds']:>8.2f} s"
                f"{found['mebibytes']:>10.0f} MiB{difference:>12.0e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
