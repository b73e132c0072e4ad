"""Whether a server lives, whether it is ready, and what is in flight when it is to end.

The health service answers for three kinds of names: ``""`` for the process, which serves from the
first moment to the last; ``ready`` for all services together; and each service's full name. The
last two serve when models are loaded, and no more once the server drains. systemd is told the same
where it started us (``Type=notify``).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from grpc_health.v1 import health_pb2

from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.serving.health_checks import HealthChecks

log = logging.getLogger(__name__)

#: The name that stands for all services of a server.
READY = "ready"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Readiness:
    """The state of a server's services, as the health service tells it.

    Args:
        names: full names of the services.
        checks: answers for them.
    """

    def __init__(self, names: Sequence[str], checks: HealthChecks) -> None:
        self._checks = checks
        self._names = (READY, *names)
        self._changed = threading.Condition()
        self._ready = False
        self._draining = False
        self._open = 0
        self._tell(serving=False)

    def ready(self) -> None:
        """Models are loaded; nothing changes if the server drains already."""
        with self._changed:
            if self._draining:
                return
            self._ready = True
            self._tell(serving=True)

    def drain(self) -> None:
        """From now on every new call is refused."""
        with self._changed:
            self._draining = True
            self._tell(serving=False)

    @property
    def is_ready(self) -> bool:
        """Whether the services serve."""
        return self._ready and not self._draining

    @contextmanager
    def serving(self, service: str) -> Iterator[None]:
        """The time of one call.

        Raises:
            ServiceUnavailable: models are not loaded yet, or the server is stopping.
        """
        with self._changed:
            if self._draining:
                raise ServiceUnavailable("the server is stopping")
            if not self._ready:
                raise ServiceUnavailable(f"{service} is still loading; try again in a moment")
            self._open += 1
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def wait_idle(self, seconds: float) -> bool:
        """Wait until no call is open, at most so long; whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, seconds)

    def _tell(self, *, serving: bool) -> None:
        status = _SERVING if serving else _NOT_SERVING
        for name in self._names:
            self._checks.set(name, status)


def notify(state: str) -> None:
    """Tell systemd ``READY=1``, ``STOPPING=1`` or ``WATCHDOG=1``, if it wants to know and listens;
    see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address)
            manager.sendall(state.encode())
    except OSError as error:
        log.warning("systemd was not told %s: %s", state, error)


def watchdog_seconds() -> float | None:
    """Half of what systemd waits for ``WATCHDOG=1``, as its manual advises; None if it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2e6 if microseconds.isdigit() else None
