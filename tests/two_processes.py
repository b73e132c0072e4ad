"""A script in two processes that share a batch, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ranksrgan.pipeline.services import free_ports

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0


def run_in_two(script: Path, given: Path, *, torchrun: bool = False) -> None:
    """Run ``script ROOT GIVEN`` in two processes; neither may fail.

    Args:
        script: of Python.
        given: its argument.
        torchrun: by the launcher itself. Else by the variables that it sets: it costs a third
            process, and seconds until the two have found each other.
    """
    command = [str(script), str(ROOT), str(given)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if torchrun:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        started = [_start([*launcher, *command], environment)]
    else:
        (port,) = free_ports(1)
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started = [
            _start(command, environment | place | {"RANK": rank, "LOCAL_RANK": rank})
            for rank in ("0", "1")
        ]
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, errors in zip(started, said, strict=True):
        assert process.returncode == 0, errors[-3000:]


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
