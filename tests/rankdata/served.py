"""A rank data server in a process of its own, and an upscaler that waits until it may go on."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from torch import Tensor

from ranksrgan.contracts import UpscalerInfo, cancellation
from ranksrgan.contracts.clients.rank_data import RankDataClient
from ranksrgan.contracts.errors import UnknownName
from ranksrgan.contracts.rpc import wait_until_healthy

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 240.0


class ServerProcess:
    """``ranksrgan-rankdata serve`` on a unix socket beside its data root.

    Args:
        root: the data root.
        flags: of the command.
    """

    def __init__(self, root: Path, *flags: str) -> None:
        self.address = f"unix:{root}/rankdata.sock"
        self._command = [sys.executable, "-m", "ranksrgan.rankdata.cli", "serve"]
        self._command += ["--listen", self.address, "--data-root", str(root), *flags]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        assert wait_until_healthy(self.address, timeout=PATIENCE)

    def end(self, number: int) -> None:
        """Send it a signal, and wait until it has gone."""
        self.signal(number)
        self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE)
        self._process = None

    @property
    def running(self) -> bool:
        return self._process is not None

    def client(self) -> RankDataClient:
        return RankDataClient(self.address, timeout=PATIENCE, retry_for=PATIENCE)


class Gate:
    """An upscaler that repeats pixels, and from call ``shut_at`` on waits until it is opened."""

    info = UpscalerInfo("gate", "1", 4, "nearest")

    def __init__(self, shut_at: int) -> None:
        self.calls = 0
        self.opened = threading.Event()
        self._shut_at = shut_at

    def upscale(self, images: Tensor) -> Tensor:
        self.calls += 1
        while self.calls > self._shut_at and not self.opened.wait(0.02):
            cancellation.check()
        return images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


class Gates:
    """The models of a service: one gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def infos(self) -> list[UpscalerInfo]:
        return [self._gate.info]

    def open(self, name: str) -> Gate:
        if name != "gate":
            raise UnknownName(f"there is no model {name}")
        return self._gate
