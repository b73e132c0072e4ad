"""SIGKILL at a random moment of an operation, what is on disk then, and how the operation ends."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ranksrgan.contracts.checkpoint import load_state, load_weights
from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient
from ranksrgan.contracts.clients.operations import RemoteOperation, connect_operation
from ranksrgan.contracts.clients.rank_data import RankDataClient
from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient
from ranksrgan.contracts.errors import RankSRGANError
from ranksrgan.contracts.images import read_image
from ranksrgan.contracts.operations.jobs import JobFolder
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.rankdata import RankDataset
from ranksrgan.rankdata.folder import holds_dataset
from ranksrgan.rankdata.manifest import read_manifest
from tests.attacks.targets import PATIENCE, fill_root, target

Victim = Literal["server", "worker", "both"]
VICTIMS: tuple[Victim, ...] = ("server", "worker", "both")

_BUILD: dict[str, Any] = {
    "hr": "images/noise",
    "levels": ["tiny=models/tiny", "blurred=blur:1.5", "hr=hr"],
    "metric": "rmse",
    "crop": 48,
    "stride": 8,
    "val": 0.3,
}
_RANKER = TrainingRequest(
    dataset="datasets/noise",
    split="train",
    validation_split="val",
    config={
        "width": 2,
        "batch": 2,
        "steps": 60,
        "validate_every": 10,
        "save_every": 3,
        "log_every": 3,
        "precision": "float32",
        "device": "cpu",
    },
)
_GENERATOR: dict[str, Any] = {
    "generator": {"features": 4, "blocks": 1},
    "discriminator": {"width": 2},
    "data": {"hr": "images/noise", "crop": 32, "batch": 2, "workers": 1},
    "losses": {"pixel": {"weight": 0.1}, "adversarial": {"weight": 0.01}},
    "validation": {"hr": "images/noise", "every": 10, "best": "psnr"},
    "run": {
        "steps": 40,
        "save_every": 3,
        "precision": "float32",
        "device": "cpu",
        "tensorboard": False,
    },
}
_OPTIONS: dict[str, Any] = {"timeout": PATIENCE, "retry_for": PATIENCE}


class Kind(NamedTuple):
    """An operation.

    Attributes:
        service: that has it.
        start: at an address, making a thing of that name.
        fingerprint: of what was made, in a root; equal for equal operations.
    """

    service: str
    start: Callable[[str, str], RemoteOperation]
    fingerprint: Callable[[Path, str], Any]


KINDS: dict[str, Kind] = {
    "build": Kind(
        "rankdata",
        lambda address, name: RankDataClient(address, **_OPTIONS).build(name, _BUILD),
        lambda root, name: read_manifest(root / "datasets" / name),
    ),
    "ranker": Kind(
        "ranker",
        lambda address, name: RankerTrainingClient(address, **_OPTIONS).train(name, _RANKER),
        lambda root, name: load_weights(root / "rankers" / name / "ranker.safetensors").sha256,
    ),
    "generator": Kind(
        "srgan",
        lambda address, name: GeneratorTrainingClient(address, **_OPTIONS).train(name, _GENERATOR),
        lambda root, name: (
            load_weights(root / "generators" / name / "generator.safetensors").sha256
        ),
    ),
}


class Killed(NamedTuple):
    """What became of a killed operation.

    Attributes:
        moment: seconds from its start to the kill.
        files: that were read after the kill, all of them whole.
        ended: "same" if it resumed and made what it would have made, or the error that it ended
            with.
    """

    moment: float
    files: int
    ended: str


class Rounds:
    """Operations of one kind that are killed, one after the other.

    Args:
        kind: of `KINDS`.
        root: an empty folder.
    """

    def __init__(self, kind: str, root: Path) -> None:
        self._kind = KINDS[kind]
        self._root = root
        fill_root(root)
        self._server = target(self._kind.service, root)
        self._server.start()
        began = time.monotonic()
        self._kind.start(self._server.address, "whole").result(PATIENCE)
        #: Seconds of an operation that nobody kills.
        self.duration = time.monotonic() - began
        self._wanted = self._kind.fingerprint(root, "whole")

    def close(self) -> None:
        self._server.end()

    def kill(self, name: str, victim: Victim, chance: random.Random) -> Killed:
        """Kill one operation at a random moment, and let it end.

        Raises:
            RankSRGANError: a file is there and half written.
        """
        operation = self._kind.start(self._server.address, name)
        moment = chance.uniform(0, self.duration)
        time.sleep(moment)
        job = JobFolder(self._root / operation.name)
        if victim in ("worker", "both"):
            pid = job.holder().pid
            if pid is not None and job.outcome() is None:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        if victim in ("server", "both"):
            self._server.end(signal.SIGKILL)
        files = read_everything(self._root)
        if victim in ("server", "both"):
            self._server.start()
        again = connect_operation(self._server.address, operation.name, **_OPTIONS)
        try:
            again.result(PATIENCE)
        except RankSRGANError as error:
            return Killed(moment, files, f"{type(error).__name__}: {error}")
        read_everything(self._root)
        same = self._kind.fingerprint(self._root, name) == self._wanted
        return Killed(moment, files, "same" if same else "another result")


def read_everything(root: Path) -> int:
    """Read every file of a data root with the reader that servers use, but for temporary ones.

    Returns:
        How many there are.

    Raises:
        RankSRGANError: one of them is damaged.
    """
    read = 0
    for path in sorted(root.rglob("[!.]*")):
        try:
            read += _read(path)
        except FileNotFoundError:  # a process that was left alive has moved it
            continue
        except RankSRGANError:
            if path.exists():
                raise
    for folder in (root / "operations").glob("[a-z]*"):
        job = JobFolder(folder)
        job.request()
        job.state()
        job.progress()
        job.outcome()
        read += 1
    return read


def _read(path: Path) -> bool:
    if path.is_dir():
        if holds_dataset(path) and not any(p.startswith(".") for p in path.parts):
            # The hashes in those that tests write by hand are made up.
            RankDataset.open(path, check_hashes=path.name != "noise")
        return False
    if path.suffix == ".safetensors":
        load_weights(path)
    elif path.name.endswith(".state.pt"):
        load_state(path)
    elif path.suffix == ".png":
        read_image(path)
    else:
        return False
    return True
