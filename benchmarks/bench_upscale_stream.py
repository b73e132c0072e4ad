"""Memory and time of a server that enlarges through UpscaleStream, up to 100 megapixels.

The model costs next to nothing (each pixel becomes a square of eight by eight), so that what is
left is the stream: decoding, encoding and the wire. Exit code 1 if the server's memory at its
highest grows by more than 96 MiB from the smallest to the largest result.

    python benchmarks/bench_upscale_stream.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ranksrgan.contracts.client import connect_upscaler
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.rpc import wait_until_healthy

SERVER = Path(__file__).parents[1] / "tests" / "contracts" / "stream_server.py"
SIDES = (128, 256, 512, 1250)
SCALE = 8
MOST_GROWTH = 96.0


@contextmanager
def serving(address: str) -> Iterator[int]:
    """A server of its own process; its pid."""
    server = subprocess.Popen([sys.executable, str(SERVER), address])
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


def main() -> int:
    random = np.random.default_rng(0)
    print(f"{'format':<8}{'result':>16}{'megapixels':>12}{'MiB':>8}{'seconds':>9}{'peak MiB':>10}")
    growths = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = f"unix:{folder}/s.sock"
        with serving(address) as pid:
            upscaler = connect_upscaler(address, "squares")
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
                    print(
                        f"{suffix:<8}{f'{width} x {height}':>16}{width * height / 1e6:>12.1f}"
                        f"{target.stat().st_size / 2**20:>8.1f}{seconds:>9.2f}{peaks[-1]:>10.1f}"
                    )
                growths.append(peaks[-1] - peaks[0])
    print(f"memory grows by at most {max(growths):.1f} MiB")
    return int(max(growths) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
