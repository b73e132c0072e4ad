"""The services of one machine, through ``deploy/local.sh``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ranksrgan.contracts.errors import ServiceUnavailable


@dataclass(frozen=True)
class Addresses:
    """Where the services of one machine listen, each ``HOST:PORT``."""

    metrics: str
    ranker: str
    srgan: str


@contextmanager
def local_services(
    script: Path, state: Path, *, rankers: Mapping[str, Path], models: Mapping[str, Path]
) -> Iterator[Addresses]:
    """Bring the services up on free ports of loopback, and take them down at the end.

    Args:
        script: ``deploy/local.sh``.
        state: folder for their logs and process ids.
        rankers: weights by name, for the ranker service.
        models: weights by name, for the srgan service.

    Raises:
        ServiceUnavailable: one did not come up; the message ends with its log.
    """
    ports = free_ports(3)
    addresses = Addresses(*(f"127.0.0.1:{port}" for port in ports))
    environment = os.environ | {
        "RANKSRGAN_STATE": str(state),
        "METRICS_ADDRESS": addresses.metrics,
        "RANKER_ADDRESS": addresses.ranker,
        "SRGAN_ADDRESS": addresses.srgan,
        # The commands that are installed beside this one, unless somebody names others.
        "BIN": os.environ.get("BIN") or str(Path(sys.executable).parent),
    }
    flags: list[str] = []
    for name, path in rankers.items():
        flags += ["--ranker", f"{name}={path}"]
    for name, path in models.items():
        flags += ["--model", f"{name}={path}"]
    try:
        _run(script, "up", *flags, environment=environment)
        yield addresses
    finally:
        _run(script, "down", environment=environment)


def _run(script: Path, *arguments: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [str(script), *arguments],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ServiceUnavailable(f"{script} {arguments[0]} failed:\n{done.stdout}")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
