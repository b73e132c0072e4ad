"""The one way to run a service and to reach one.

Addresses are ``HOST:PORT`` or ``unix:PATH``. A server refuses a taken port instead of sharing it,
answers health checks while it works, bounds what waits, maps errors by one table, and drains on
SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ranksrgan.contracts.errors import (
    AddressInUse,
    InvalidInput,
)
from ranksrgan.contracts.serving.admission import Admission
from ranksrgan.contracts.serving.memory import keep_few_arenas
from ranksrgan.contracts.serving.well_formed import WellFormed

log = logging.getLogger(__name__)

# What a client accepts in one answer: an upscaled image is many times the request.
_MAX_ANSWER_BYTES = 2**30
# Threads beyond those that work or wait, so that health and reflection always find one.
_SPARE_THREADS = 4


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes on.

    Attributes:
        workers: requests worked on at a time.
        queue: requests that may wait for a worker; the next one is refused with `Overloaded`.
        streams: streams that may be open beside those, idle or not; likewise. Each of their
            responses waits for a worker, and the client meanwhile.
        waiters: calls that may be waiting for the end of a long job beside those; likewise.
        max_message_bytes: of a request, or of one request of a stream.
        grace: seconds that requests in flight get to finish after SIGTERM. A stream that waits for
            its client is in flight.
    """

    workers: int = 2
    queue: int = 16
    streams: int = 16
    waiters: int = 32
    max_message_bytes: int = 64 * 2**20
    grace: float = 30.0

    @property
    def calls(self) -> int:
        """How many calls may be open at a time."""
        return self.workers + self.queue + self.streams + self.waiters


class Servicer(Protocol):
    """A service that can be added to a server."""

    @property
    def full_name(self) -> str: ...

    def add_to(self, server: grpc.Server) -> None: ...


class Background(Protocol):
    """What works as long as a server serves: the supervisor of its long jobs."""

    def start(self) -> None: ...

    def stop(self, grace: float) -> None:
        """Stop within about ``grace`` seconds, while the server drains."""
        ...


class RunningServer:
    """A server that listens; ``address`` is the bound one, port 0 resolved."""

    def __init__(
        self,
        server: grpc.Server,
        checks: health.HealthServicer,
        admission: Admission,
        background: Background | None,
        address: str,
    ) -> None:
        self._server = server
        self._checks = checks
        self._admission = admission
        self._background = background
        self.address = address

    def stop(self, grace: float = 0.0) -> None:
        """Report NOT_SERVING, take no new request, give those in flight ``grace`` seconds.

        A stream of responses to one request, which may be endless, ends after the one at hand.
        """
        self._checks.enter_graceful_shutdown()
        self._admission.stopping.set()
        drained = self._server.stop(grace)
        if self._background is not None:
            self._background.stop(grace)
        drained.wait()
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)


def start_server(
    address: str,
    servicers: Sequence[Servicer],
    limits: ServerLimits | None = None,
    background: Background | None = None,
) -> RunningServer:
    """Start serving and return at once.

    Args:
        address: ``HOST:PORT`` (port 0 picks a free one) or ``unix:PATH``.
        servicers: what to serve, beside health and reflection.
        limits: what to take on.
        background: is started before the first request and stopped with the server; what its start
            raises is raised.

    Raises:
        AddressInUse: somebody listens there already.
        InvalidInput: not an address.
    """
    limits = limits or ServerLimits()
    _require_free(address)
    admission = Admission(limits, {servicer.full_name for servicer in servicers})
    server = grpc.server(
        ThreadPoolExecutor(max_workers=limits.calls + _SPARE_THREADS, thread_name_prefix="rpc"),
        interceptors=[WellFormed(), admission],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", 4 * limits.calls),
            # Without a ping, a client whose machine has gone would hold its stream for ever.
            ("grpc.keepalive_time_ms", 60_000),
        ],
    )
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for servicer in servicers:
        servicer.add_to(server)
    names = [servicer.full_name for servicer in servicers]
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressInUse(f"cannot listen on {address}: {error}", field=address) from error
    if background is not None:
        background.start()
    server.start()
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).chmod(stat.S_IRUSR | stat.S_IWUSR)
        bound = address
    else:
        bound = f"{address.rpartition(':')[0]}:{port}"
    for name in ("", *names):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RunningServer(server, checks, admission, background, bound)


def serve(
    address: str,
    servicers: Sequence[Servicer],
    limits: ServerLimits | None = None,
    background: Background | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Args:
        address, servicers, limits, background: see `start_server`.

    Returns:
        The exit code, 0.
    """
    keep_few_arenas()
    limits = limits or ServerLimits()
    server = start_server(address, servicers, limits, background)
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    host = address.rpartition(":")[0]
    if not address.startswith("unix:") and host not in ("127.0.0.1", "localhost", "[::1]"):
        log.warning("listening on %s, not only on loopback, without encryption or login", host)
    names = ", ".join(servicer.full_name for servicer in servicers)
    log.info("listening on %s: %s", server.address, names)
    stopping.wait()
    log.info("stopping; requests in flight have %g s", limits.grace)
    server.stop(limits.grace)
    return 0


def open_channel(address: str) -> grpc.Channel:
    """A channel to ``HOST:PORT`` or ``unix:PATH``; connects when it is first used."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # What one attempt to connect may take, whatever its name says: a busy server needs it.
            ("grpc.min_reconnect_backoff_ms", 20_000),
            # A service that restarts should be found again within a second, not within two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )


def check_health(address: str, service: str = "", *, timeout: float = 2.0) -> bool:
    """Whether the server at ``address`` says that it serves ``service`` ("" for the process)."""
    with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=service), timeout=timeout
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _require_free(address: str) -> None:
    """gRPC replaces a unix socket that another server listens on without a word; we ask first."""
    if not address.startswith("unix:"):
        host, separator, port = address.rpartition(":")
        if not separator or not host or not port.isdigit():
            raise InvalidInput(f"{address!r}: listen on HOST:PORT or unix:PATH", field=address)
        return
    path = Path(address.removeprefix("unix:"))
    if not path.parent.is_dir():
        raise InvalidInput(f"{path.parent} is not a folder to put a socket in", field=address)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise InvalidInput(f"{path} is no socket of ours: {error}", field=address) from error
    raise AddressInUse(f"a server listens on {address} already", field=address)


def wait_until_healthy(address: str, *, timeout: float = 60.0) -> bool:
    """Wait until the server at ``address`` answers that it serves; False if it does not in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if check_health(address):
            return True
        time.sleep(0.1)
    return False
