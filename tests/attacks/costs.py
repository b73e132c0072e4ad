"""Decode one file in this process and say what it cost: ``python costs.py FILE...``, JSON lines.

A limit of the address space keeps a bomb that goes off from taking the machine along.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np

from ranksrgan.contracts.errors import RankSRGANError
from ranksrgan.contracts.images import Picture, decode_image, encode_image

_ADDRESS_SPACE = 8 * 2**30
_MAX_PIXELS = 2**24


def main(files: list[str]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):  # what a format loads is no cost
        decode_image(encode_image(Picture(np.zeros((9, 9, 3), np.uint8)), suffix=suffix))
    for file in files:
        data = Path(file).read_bytes()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before, began = _peak_mib(), time.thread_time()
        try:
            decode_image(data, max_pixels=_MAX_PIXELS)
            outcome = "read"
        except RankSRGANError as error:
            outcome = type(error).__name__
        except Exception as error:
            outcome = f"untyped {error!r}"
        seconds, memory = time.thread_time() - began, _peak_mib() - before
        sys.stdout.write(
            json.dumps({"name": Path(file).name, "outcome": outcome, "s": seconds, "MiB": memory})
            + "\n"
        )


def _peak_mib() -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
