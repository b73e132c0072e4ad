"""Memory and time of a server that enlarges through UpscaleStream, up to 100 megapixels.

Files come to a model that costs next to nothing (each pixel becomes a square of eight by eight), so
that what is left is the stream: decoding, encoding and the wire. Rows of float32 pixels come to the
same model, to one that doubles sides, so that the input is large too, and to a small network with
the reach of its kind. Exit code 1 if the server's memory at its highest grows by more than 96 MiB
from the smallest result of a kind to the largest, or, with rows, by more than 64 MiB where ten
times as many rows of one width come.

    python benchmarks/bench_upscale_stream.py [--only rows|files] [--network-megapixels N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts.client import connect_upscaler
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.row_image import RowImage
from ranksrgan.contracts.rpc import wait_until_healthy

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "tests" / "contracts" / "stream_server.py"
SIDES = (128, 256, 512, 1250)
SCALE = 8
MOST_GROWTH, MOST_GROWTH_WITH_ROWS = 96.0, 64.0
SCALES = {"squares": 8, "lines": 2, "network": 4}


@contextmanager
def serving(address: str) -> Iterator[int]:
    """A server of its own process; its pid."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    server = subprocess.Popen(
        [sys.executable, str(SERVER), address], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        wait_until_healthy(address)
        yield server.pid
    finally:
        server.terminate()
        server.wait()


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> float:
    """The most MiB that a process had in memory since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def row(
    what: str, width: int, height: int, came: float, went: float, cost: tuple[float, float]
) -> None:
    seconds, most = cost
    print(
        f"{what:<14}{f'{width} x {height}':>16}{width * height / 1e6:>8.1f}{came / 2**20:>10.1f}"
        f"{went / 2**20:>10.1f}{seconds:>9.2f}{most:>10.1f}",
        flush=True,
    )


def of_files(address: str, pid: int, folder: Path) -> float:
    """The most that memory grows with files."""
    random = np.random.default_rng(0)
    upscaler = connect_upscaler(address, "squares")
    growths = []
    for suffix in (".png", ".jpg", ".tif"):
        peaks = []
        for side in SIDES:
            source, target = folder / "in.png", folder / f"out{suffix}"
            noise = random.integers(0, 256, (side, side, 3), np.uint8)
            write_image(source, Picture(noise))
            forget_peak(pid)
            began = time.perf_counter()
            width, height = upscaler.upscale_file(source, target)
            seconds = time.perf_counter() - began
            peaks.append(peak(pid))
            sizes = source.stat().st_size, target.stat().st_size
            row(f"file {suffix}", width, height, *sizes, (seconds, peaks[-1]))
        growths.append(peaks[-1] - peaks[0])
    upscaler.close()
    return max(growths)


def of_rows(address: str, pid: int, model: str, side: int) -> tuple[float, float]:
    """How much memory grows with the size, and with the number of rows alone, up to a side."""
    scale, peaks = SCALES[model], []
    upscaler = connect_upscaler(address, model)
    for width, height in ((side // 10, side // 10), (side, side // 10), (side, side)):
        image = RowImage(height // scale, width // scale, 3, torch.float32)
        noise = torch.rand(1, 3, 512, image.width)

        def some(top: int, bottom: int, noise: Tensor = noise) -> Tensor:
            rows = bottom - top
            return noise.repeat(1, 1, -(-rows // 512), 1)[:, :, :rows]

        forget_peak(pid)
        began, made, size = time.perf_counter(), 0, 0
        for strip in upscaler.upscale_rows(image, some):
            made += strip.shape[2]
            size += strip.nbytes
        seconds = time.perf_counter() - began
        peaks.append(peak(pid))
        costs = (seconds, peaks[-1])
        row(f"rows {model}", scale * image.width, made, image.size, size, costs)
    upscaler.close()
    return peaks[2] - peaks[0], peaks[2] - peaks[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("files", "rows"))
    parser.add_argument(
        "--network-megapixels",
        type=float,
        default=25.0,
        metavar="N",
        help="of the largest result of the network, which is what takes time (default: 25)",
    )
    arguments = parser.parse_args()
    print(
        f"{'what':<14}{'result':>16}{'MP':>8}{'MiB in':>10}{'MiB out':>10}{'seconds':>9}"
        f"{'peak MiB':>10}"
    )
    growths, with_rows = [0.0], [0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = f"unix:{folder}/s.sock"
        if arguments.only != "files":
            for model in SCALES:
                megapixels = arguments.network_megapixels if model == "network" else 100
                with serving(address) as pid:
                    side = int((megapixels * 1e6) ** 0.5)
                    growth, rows = of_rows(address, pid, model, side)
                growths.append(growth)
                with_rows.append(rows)
        if arguments.only != "rows":
            with serving(address) as pid:
                growths.append(of_files(address, pid, folder))
    print(
        f"memory grows by at most {max(growths):.1f} MiB, and by {max(with_rows):.1f} MiB where "
        "ten times as many rows come"
    )
    return int(max(growths) > MOST_GROWTH or max(with_rows) > MOST_GROWTH_WITH_ROWS)


if __name__ == "__main__":
    sys.exit(main())
