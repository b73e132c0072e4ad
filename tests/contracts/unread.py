"""A client that takes nothing of an answer but its beginning, which gRPC's own always does."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

from tests.contracts.watcher import PATIENCE

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_NO_WINDOW = struct.pack(">HI", 4, 0)


class UnreadCalls:
    """Calls over one connection of HTTP/2 whose streams have a window of 0 bytes.

    Args:
        address: ``HOST:PORT``.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._last = -1
        self._changed = threading.Condition()
        self._headers: dict[int, list[bytes]] = {}
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, _NO_WINDOW)
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(OSError):  # the server has gone before
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reading.join(PATIENCE)
        self._socket.close()

    def call(self, method: str, request: bytes = b"") -> int:
        """Make a call and wait until its answer is on its way; returns its number."""
        self._last = number = self._last + 2
        headers = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "x"}
        headers |= {"content-type": "application/grpc", "te": "trailers"}
        block = b"".join(
            b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair)
            for pair in headers.items()
        )
        message = b"\0" + struct.pack(">I", len(request)) + request
        self._socket.sendall(
            _frame(_HEADERS, _END_HEADERS, number, block)
            + _frame(_DATA, _END_STREAM, number, message)
        )
        self._wait(number, 1)
        return number

    def end(self, number: int) -> bytes:
        """How the server ends a call whose answer is on its way, as HTTP/2 has it."""
        self._wait(number, 2)
        return self._headers[number][1]

    def ended(self) -> list[int]:
        """The calls that the server has ended so far."""
        return sorted(number for number, blocks in self._headers.items() if len(blocks) > 1)

    def _wait(self, number: int, blocks: int) -> None:
        with self._changed:
            assert self._changed.wait_for(
                lambda: len(self._headers.get(number, ())) >= blocks, PATIENCE
            )

    def _read(self) -> None:
        with suppress(ConnectionError), self._socket.makefile("rb") as stream:
            while head := stream.read(9):
                kind, flags = head[3], head[4]
                number = int.from_bytes(head[5:], "big")
                body = stream.read(int.from_bytes(head[:3], "big"))
                if kind in (_SETTINGS, _PING) and not flags & _ACK:
                    self._socket.sendall(_frame(kind, _ACK, 0, body if kind == _PING else b""))
                if kind == _HEADERS:
                    with self._changed:
                        self._headers.setdefault(number, []).append(body)
                        self._changed.notify_all()


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return (
        struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", number) + body
    )
