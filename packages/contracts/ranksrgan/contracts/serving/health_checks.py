"""The health service: any number of clients may watch, and none of them can hold it up.

The one of ``grpc_health`` sends to a watcher while it holds the lock that everything else of it
needs, the end of a call included, which gRPC's only event thread waits for: a watch that begins
while another one ends stops the whole server for ever. Its other form holds a thread for each
watch. Here nothing is sent with a lock held, and a watch that has nothing to hear holds no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ranksrgan.contracts.errors import DeadlineExceeded, Overloaded, ServiceUnavailable
from ranksrgan.contracts.serving.waits import Waits, end_call

Response = health_pb2.HealthCheckResponse
#: Sends a response; None ends the call.
Send = Callable[[Response | None], None]

# Clients that watch at a time: each costs some KiB, and no thread.
_WATCHES = 4096
# Watches that hear something at a time, and seconds until one that does not listen is ended.
_SENDERS = 4
_LISTENING = 5.0


class HealthChecks(health_pb2_grpc.HealthServicer):
    """``grpc.health.v1.Health``.

    Args:
        waits: ends watches that do not listen.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._lock = threading.Lock()
        self._statuses: dict[str, int] = {"": Response.SERVING}
        self._watches: dict[str, set[_Watch]] = {}
        self._number = 0
        self._closed = False
        self._senders = ThreadPoolExecutor(_SENDERS, "health watches")

    @property
    def watches(self) -> int:
        """How many clients watch."""
        return self._number

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Response:
        with self._lock:
            status = self._statuses.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            return Response()
        return Response(status=status)

    def Watch(  # type: ignore[override]
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.ServicerContext,
        send: Send,
    ) -> None:
        """Returns at once; what there is to tell is told by ``send``, until the call ends.

        Raises:
            Overloaded: as many watch as may.
            ServiceUnavailable: see `close`.
        """
        watch = _Watch(context, send, self._waits)
        with self._lock:
            if self._closed:
                raise ServiceUnavailable("the server has stopped")
            if self._number >= _WATCHES:
                raise Overloaded(f"{_WATCHES} clients watch already; ask now and then")
            if not context.add_callback(lambda: self._forget(request.service, watch)):
                return
            self._number += 1
            self._watches.setdefault(request.service, set()).add(watch)
            status = self._statuses.get(request.service, Response.SERVICE_UNKNOWN)
            self._tell(watch, status)

    def set(self, service: str, status: int) -> None:
        """From now on a service has that status."""
        with self._lock:
            if self._closed or self._statuses.get(service) == status:
                return
            self._statuses[service] = status
            for watch in self._watches.get(service, ()):
                self._tell(watch, status)

    def close(self) -> None:
        """End all watches: the server is about to go."""
        with self._lock:
            self._closed = True
            watches = [watch for known in self._watches.values() for watch in known]
        for watch in watches:
            end_call(watch.context, ServiceUnavailable("the server has stopped"))
        self._senders.shutdown(wait=False, cancel_futures=True)

    def _tell(self, watch: _Watch, status: int) -> None:
        if watch.hears(status):
            self._senders.submit(watch.send_all)

    def _forget(self, service: str, watch: _Watch) -> None:
        with self._lock:
            self._number -= 1
            self._watches[service].discard(watch)
            if not self._watches[service]:
                del self._watches[service]


class _Watch:
    """One client: hears the latest status, from one thread at a time.

    Args:
        context: of its call.
        send: see `HealthChecks.Watch`.
        waits: ends it if it does not listen.
    """

    def __init__(self, context: grpc.ServicerContext, send: Send, waits: Waits) -> None:
        self.context = context
        self._send = send
        self._waits = waits
        self._lock = threading.Lock()
        self._news: int | None = None
        self._hearing = False

    def hears(self, status: int) -> bool:
        """There is news; whether somebody has to be sent with it."""
        with self._lock:
            self._news = status
            idle, self._hearing = not self._hearing, True
            return idle

    def send_all(self) -> None:
        """Send what there is, until there is nothing new."""
        while True:
            with self._lock:
                status, self._news = self._news, None
                if status is None:
                    self._hearing = False
                    return
            try:
                with self._waits.sending(self.context, _LISTENING):
                    self._send(Response(status=status))
            except DeadlineExceeded:
                return  # it was ended, and hears nothing more
