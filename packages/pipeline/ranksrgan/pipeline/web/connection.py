"""Connections that end when the other side keeps them waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# asyncio waits for what is written once 64 KiB lie in a buffer, until all but 16 KiB are gone.
_TAKEN_AT_LEAST = 48 * 2**10

# The system's own buffer holds MiBs, and makes room in steps that a slow line needs minutes for;
# so that we see what is taken, it has no more than this of what is not on its way.
_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None), 2**16


@dataclass(frozen=True)
class Patience:
    """How long a connection waits for the other side.

    Attributes:
        head: seconds from the first to the last byte of a request's head, and from connecting.
        rest: seconds for what still comes of a body after its request was answered.
        standstill: seconds that an answer may lie without being taken.
        rate: bytes a second at which an answer is taken if it goes on and on.
    """

    head: float = 10.0
    rest: float = 60.0
    standstill: float = 30.0
    rate: float = 8192.0


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits for ever in three places.

    These are: for a request's head, for the rest of a body that nobody reads any more, and for an
    answer to be taken. Bodies that are read have their time there (`guard.read_body`), and between
    two requests uvicorn keeps the time.
    """

    patience = Patience()

    # What is waited for, so that bytes that come one by one buy no more time.
    _awaited: object = None
    _arriving: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None
    _full_since = 0.0
    _left = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        option, size = _UNSENT
        connected = transport.get_extra_info("socket")
        if option is not None and connected is not None:
            with contextlib.suppress(OSError):  # an older system; or no TCP, for one
                connected.setsockopt(socket.IPPROTO_TCP, option, size)
        self._left = self.patience.standstill
        self._await_bytes()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_bytes()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arriving, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._full_since = time.monotonic()
        self._taking = self.loop.call_later(self._left, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()
        earned = _TAKEN_AT_LEAST / self.patience.rate
        left = self._left - (time.monotonic() - self._full_since) + earned
        self._left = min(self.patience.standstill, left)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._close_in_time()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close_in_time()

    def _close_in_time(self) -> None:
        # Closing waits for what is still to be written.
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self.loop.call_later(self.patience.standstill, self.transport.abort)

    def _await_bytes(self) -> None:
        """See to it that what has begun to come ends in time; called when bytes have come."""
        if self.cycle is not None and not self.cycle.response_complete:
            awaited, seconds = None, 0.0  # a request is worked on
        elif self.conn.their_state is h11.SEND_BODY:
            awaited, seconds = (self.cycle, "rest"), self.patience.rest
        else:
            awaited, seconds = (self.cycle, "head"), self.patience.head
        if self._arriving is not None and awaited == self._awaited:
            return
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None
        self._awaited = awaited
        if awaited is not None:
            self._arriving = self.loop.call_later(seconds, self.transport.abort)
