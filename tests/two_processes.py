"""A script in two processes that share a batch, as ``torchrun`` starts them."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

from ranksrgan.pipeline.services import free_ports

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0

# Processes are forked off one that has imported these, which takes each by itself six seconds. It
# has no threads, and lives as long as the tests do.
_IMPORTED = ["ranksrgan.ranker", "ranksrgan.srgan", "torch._dynamo"]
_context = multiprocessing.get_context("forkserver")
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # where they look for this module
_context.set_forkserver_preload(_IMPORTED)


def run_in_two(script: Path, given: Path, *, torchrun: bool = False) -> None:
    """Run ``script ROOT GIVEN`` in two processes; neither may fail.

    Args:
        script: of Python.
        given: its argument.
        torchrun: by the launcher itself. Else by the variables that it sets: it costs a third
            process, and seconds until the two have found each other.
    """
    command = [str(script), str(ROOT), str(given)]
    environment = {"OMP_NUM_THREADS": "1"}
    if torchrun:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        done = subprocess.run(
            [sys.executable, *launcher, *command],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return
    (port,) = free_ports(1)
    environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = [script.with_suffix(f".{rank}.txt") for rank in range(2)]
    started = []
    try:
        for rank, output in zip("01", said, strict=True):
            its = environment | {"RANK": rank, "LOCAL_RANK": rank}
            process = _context.Process(target=_run, args=(command, its, output))
            process.start()
            started.append(process)
        for process in started:
            process.join(PATIENCE)
        codes = [process.exitcode for process in started]
    finally:
        for process in started:
            process.kill()
    for code, output in zip(codes, said, strict=True):
        assert code == 0, output.read_text()[-3000:]


def _run(command: list[str], environment: dict[str, str], output: Path) -> None:
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
