"""HTTP for one small page, of which idle clients cannot take more than a few threads."""

from __future__ import annotations

import logging
import math
import socket
import sys
import threading
import time
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)

#: Connections, and threads, at a time.
PLACES = 16
# Seconds from a connection's beginning to its end, whether it has been answered or not.
_LONGEST = 10.0
# Seconds that a connection has, however many wait for its place.
_SHORTEST = 0.5
# Seconds between two looks for a place while there is none.
_LOOK_EVERY = 0.05


class PageServer(ThreadingMixIn, WSGIServer):
    """Serves an application, one request a connection.

    Of `PLACES` connections that are open the oldest ends for the next one, after half a second at
    the earliest, and each ends after ten: who connects and says nothing, or does not read, keeps
    nobody out for long. While a hundred a second do so, an answer may take some seconds (measured:
    4 to 7).

    Args:
        host: to listen on.
        port: 0 picks a free one.
        application: what is served.

    Raises:
        OSError: nobody can listen there.
    """

    daemon_threads = True
    # Those that wait for a place; with the usual 5 a client tries again only after a second.
    request_queue_size = 128

    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        self._changed = threading.Condition()
        # When each connection has begun; infinity for one that has been told to end.
        self._open: dict[Any, float] = {}
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = found[0]
        super().__init__((host, port), _Handler)
        self.set_app(application)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer it in a thread of its own, once there is a place."""
        with self._changed:
            while len(self._open) >= PLACES:
                self._end_one(_SHORTEST)
                self._changed.wait(_LOOK_EVERY)
            self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Its place is free again."""
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called now and then while connections are awaited."""
        self._end_all(_LONGEST)

    def server_close(self) -> None:
        """Listen no more, and end the connections that are open."""
        super().server_close()
        self._end_all(0.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go when they like; the rest is a fault."""
        gone = isinstance(sys.exception(), OSError)
        log.log(logging.DEBUG if gone else logging.ERROR, "a page's request", exc_info=True)

    def _end_all(self, age: float) -> None:
        with self._changed:
            for _ in self._open:
                self._end_one(age)

    def _end_one(self, age: float) -> None:
        """End the oldest connection, if it is older than that; with the lock held."""
        oldest = min(self._open, key=self._open.__getitem__)
        if time.monotonic() - self._open[oldest] < age:
            return
        self._open[oldest] = math.inf
        with suppress(OSError):  # the client has gone
            oldest.shutdown(socket.SHUT_RDWR)  # its thread wakes, and closes it


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a scrape is nothing to tell of."""
