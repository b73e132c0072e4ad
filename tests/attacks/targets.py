"""The four servers, each in a process of its own, over one data root."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.rpc import check_health, wait_until_healthy
from ranksrgan.ranker import VGG12
from ranksrgan.srgan import SRResNet, save_generator
from tests.ranker.training_service import write_dataset

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 120.0
LEVELS = ("low", "high")


@dataclass
class Target:
    """A server.

    Attributes:
        name: of its package.
        address: where it listens.
        command: starts it.
        log: what it writes.
        process: of the server; None while it is down.
    """

    name: str
    address: str
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def launch(self) -> None:
        with self.log.open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def await_health(self) -> None:
        if not wait_until_healthy(self.address, timeout=PATIENCE):
            raise AssertionError(f"{self.name} did not come up: {self.log.read_text()[-2000:]}")

    def start(self) -> None:
        self.launch()
        self.await_health()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def is_well(self) -> bool:
        """The process that was started is there and answers its health check."""
        assert self.process is not None
        return self.process.poll() is None and check_health(self.address, timeout=PATIENCE)

    def memory_mib(self) -> float:
        """Of its own, without the pages of files that are mapped."""
        return resident_mib(self.pid)

    def end(self, number: int = signal.SIGTERM) -> int | None:
        """Send a signal and wait until it has gone; its exit code."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None


def resident_mib(pid: int) -> float:
    """Anonymous memory of a process that is resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def fill_root(root: Path) -> None:
    """Put a rank dataset, images, a Ranker and a generator into a data root, all of them tiny."""
    scores = {"train": [(float(n), n + 1.0) for n in range(4)], "val": [(2.0, 1.0), (3.0, 4.0)]}
    write_dataset(root / "datasets" / "noise", scores, LEVELS)
    random = np.random.default_rng(3)
    for index in range(3):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        write_image(root / "images" / "noise" / f"{index}.png", Picture(pixels))
    torch.manual_seed(5)
    save_generator(root / "models" / "tiny.safetensors", SRResNet(4, 1), {})
    save_weights(
        root / "rankers" / "tiny.safetensors",
        VGG12(2).state_dict(),
        kind="ranker",
        architecture="vgg12",
        options={"width": 2},
        about={"higher_is_better": False},
    )


def target(name: str, root: Path, *flags: str) -> Target:
    """One of the four, not started: ``metrics``, ``rankdata``, ``ranker`` or ``srgan``."""
    address = f"unix:{root}/{name}.sock"
    command = [sys.executable, "-m", f"ranksrgan.{name}.cli", "serve", "--listen", address]
    if name != "metrics":
        command += ["--data-root", str(root)]
    if name == "ranker":
        command += ["--ranker", f"tiny={root}/rankers/tiny.safetensors"]
    if name == "srgan":
        command += ["--model", f"tiny={root}/models/tiny.safetensors"]
    return Target(name, address, [*command, *flags], root / f"{name}.log")


NAMES = ("metrics", "rankdata", "ranker", "srgan")


@contextmanager
def serving(root: Path, names: tuple[str, ...] = NAMES) -> Iterator[dict[str, Target]]:
    """Servers over a root that `fill_root` has filled; they are stopped at the end."""
    targets = {name: target(name, root) for name in names}
    try:
        for one in targets.values():
            one.launch()
        for one in targets.values():
            one.await_health()
        yield targets
    finally:
        for one in targets.values():
            if one.process is not None:
                one.process.terminate()
        for one in targets.values():
            one.end()
