"""``ranksrgan-ranker serve`` in a process of its own, and the rank datasets in its data root."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ranksrgan.contracts.checkpoint import load_state
from ranksrgan.contracts.images import Picture, write_image
from ranksrgan.contracts.jobs import JobFolder
from ranksrgan.contracts.operations_client import RemoteOperation, connect_operation
from ranksrgan.contracts.ranker_training_client import RemoteRankerTraining
from ranksrgan.contracts.rpc import wait_until_healthy
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.rankdata.manifest import (
    FORMAT,
    Counts,
    LevelRecord,
    Record,
    Row,
    level_image,
    write_manifest,
    write_record,
)

#: Seconds that a test waits for what must happen, on a machine that has other things to do.
PATIENCE = 240.0
SIDE = 32
RMSE = ScorerInfo("rmse", "1", False, True, False, 1)

_ENTRY_POINTS = "[ranksrgan.pair_sources]\nrankdataset = gated_source:open_gated\n"


class Serving:
    """A server that can be killed and started again, at an address that stays.

    Args:
        root: its data root.
        flags: of the command, beside.
    """

    def __init__(self, root: Path, *flags: str) -> None:
        self.root = root
        self.address = f"unix:{root}/s.sock"
        self.training = RemoteRankerTraining(self.address, timeout=PATIENCE, retry_for=PATIENCE)
        self._command = [sys.executable, "-m", "ranksrgan.ranker.cli", "serve"]
        self._command += ["--listen", self.address, "--data-root", str(root), *flags]
        self._environment = _with_gates(root)
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

    def gate(self, dataset: str) -> Path:
        return self.root / dataset / "gate"

    def saved_step(self, ranker: str) -> int:
        """How many updates the training state holds; 0 if there is none."""
        state = self.root / ranker / "last.state.pt"
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


def write_dataset(
    folder: Path, scores: Mapping[str, list[tuple[float, ...]]], levels: tuple[str, ...]
) -> None:
    """A rank dataset by hand: for each split, the scores of the versions of its contents."""
    random = np.random.default_rng(0)
    rows = []
    for split, contents in scores.items():
        for index, values in enumerate(contents):
            source = f"{split}{index}"
            for level, score in zip(levels, values, strict=True):
                pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                write_image(level_image(folder, level, source), Picture(pixels))
                rows.append(Row(source, split, level, 0, 0, SIDE, SIDE, score, "0" * 64, 1.0))
    write_manifest(folder, rows)
    record = Record(
        format=FORMAT,
        metric=RMSE,
        levels=tuple(LevelRecord(name=name, spec=name, kind="folder", facts={}) for name in levels),
        counts=Counts(
            sources=len(rows),
            sources_smaller_than_crop=0,
            sources_without_kept_crop=0,
            crops_kept=len(rows) // len(levels),
            crops_dropped={},
        ),
        config={},
        run={},
    )
    write_record(folder, record)


def _with_gates(folder: Path) -> dict[str, str]:
    """The environment of processes that find `gated_source` where they look for rank datasets."""
    offer = folder / "site" / "gated-1.dist-info"
    offer.mkdir(parents=True)
    (offer / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1\n")
    (offer / "entry_points.txt").write_text(_ENTRY_POINTS)
    places = [str(offer.parent), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": ":".join(place for place in places if place)}
