"""What clients of the services that do long work have in common."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.clients.operations import RemoteOperation


class LongWorkClient:
    """A service that can be asked for work, which then needs no client to go on.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one call may take.
        retry_for: seconds of patience while nobody answers or the server is full, at each call.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retry_for: float = 0.0) -> None:
        self._connection = Connection(address, timeout=timeout, retry_for=retry_for)

    def close(self) -> None:
        """Close the connection, that of the operations too; the work goes on."""
        self._connection.close()

    def _ask(self, method: Callable[..., Any], request: Any, request_id: str) -> RemoteOperation:
        """Call a method that starts work.

        A request always has an id: with patience it may be repeated unseen, and must not start
        anything twice.
        """
        request.request_id = request_id or uuid.uuid4().hex
        return RemoteOperation(self._connection, self._connection.call(method, request))
