"""A service with a data root, in a process of its own that can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ranksrgan.contracts.checkpoint import load_state
from ranksrgan.contracts.clients.operations import RemoteOperation, connect_operation
from ranksrgan.contracts.operations.jobs import JobFolder
from ranksrgan.contracts.rpc import wait_until_healthy

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 240.0


class Serving:
    """A server at an address that stays.

    Args:
        root: its data root.
        module: of the command: ``python -m MODULE serve``.
        flags: of the command, beside.
        environment: of the process.
    """

    def __init__(self, root: Path, module: str, *flags: str, environment: Mapping[str, str]):
        self.root = root
        self.address = f"unix:{root}/s.sock"
        self._command = [sys.executable, "-m", module, "serve"]
        self._command += ["--listen", self.address, "--data-root", str(root), *flags]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, env=self._environment)
        assert wait_until_healthy(self.address, timeout=PATIENCE)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send the server a signal and wait until it has gone; no more if it has already."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def operation(self, name: str) -> RemoteOperation:
        return connect_operation(self.address, name, timeout=PATIENCE, retry_for=PATIENCE)

    def saved_step(self, result: str) -> int:
        """How many steps the training state of a result holds; 0 if there is none."""
        state = self.root / result / "last.state.pt"
        return int(load_state(state)["step"]) if state.exists() else 0

    def worker(self, operation: RemoteOperation) -> int:
        """The process that works on it, once it has begun."""
        folder = JobFolder(self.root / operation.name)
        until(lambda: folder.holder().pid is not None)
        pid = folder.holder().pid
        assert pid is not None
        return pid


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def offering(folder: Path, entry_points: str, modules: Path) -> dict[str, str]:
    """The environment of processes that find further entry points.

    Args:
        folder: takes the description of a distribution that offers them.
        entry_points: as in an ``entry_points.txt``.
        modules: the folder of the modules that they name.
    """
    offer = folder / "site" / "trial-1.dist-info"
    offer.mkdir(parents=True)
    (offer / "METADATA").write_text("Metadata-Version: 2.1\nName: trial\nVersion: 1\n")
    (offer / "entry_points.txt").write_text(entry_points)
    places = [str(offer.parent), str(modules), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": ":".join(place for place in places if place)}
