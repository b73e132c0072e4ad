"""A long job in another process, followed by the name of its operation."""

from __future__ import annotations

import math
import time
from typing import Any

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.message import DecodeError, Message

from ranksrgan.contracts.clients.connection import Connection
from ranksrgan.contracts.errors import DeadlineExceeded, InternalError, Overloaded

# What metadata and responses are made of has to be known before it can be read.
from ranksrgan.contracts.v1 import (  # noqa: F401
    generator_training_pb2,
    rank_data_pb2,
    ranker_training_pb2,
)
from ranksrgan.contracts.wire import error_codec

#: Seconds that one call waits at the server; then it is asked again.
_WAIT = 10.0
#: Seconds between two questions where the server does not let us wait.
_PAUSE = 0.5


class RemoteOperation:
    """A ``google.longrunning.Operation``: work that goes on whether somebody looks or not.

    Its name and the server's address are all that it takes to come back to it later, from another
    process too (`connect_operation`).

    Args:
        connection: to the server. Its patience is what a restart of the server needs.
        operation: as the method that started the work has returned it.
    """

    def __init__(self, connection: Connection, operation: operations_pb2.Operation) -> None:
        self._connection = connection
        self._latest = operation

    @property
    def name(self) -> str:
        """``operations/ID``."""
        return str(self._latest.name)

    @property
    def address(self) -> str:
        """Of the server."""
        return self._connection.address

    @property
    def done(self) -> bool:
        """Whether the work has ended, one way or another; asks the server until it has."""
        return bool(self._refresh().done)

    def progress(self) -> Any:
        """The metadata, now: `TrainRankerMetadata`, say; its ``job`` tells queued from running."""
        return _unpack(self._refresh().metadata)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the work has ended, at most ``timeout`` seconds; whether it has.

        Raises:
            ServiceUnavailable: the server went, and did not come back in time.
            UnknownName: the operation was deleted.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self._latest.done:
            began = time.monotonic()
            left = min(end - began, _WAIT, self._connection.timeout / 2)
            if left <= 0:
                break
            self._wait_at_server(left)
            # A server that is about to stop, or has enough waiters, answers at once.
            pause = began + min(left, _PAUSE) - time.monotonic()
            if not self._latest.done and pause > 0:
                time.sleep(pause)
        return bool(self._latest.done)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the response and return it: `TrainedRanker`, say.

        Raises:
            RankSRGANError: what ended the work, of the class that it was raised as there.
            RequestCancelled: it was cancelled.
            DeadlineExceeded: it has not ended after ``timeout`` seconds.
            ServiceUnavailable, UnknownName: see `wait`.
        """
        if not self.wait(timeout):
            raise DeadlineExceeded(f"{self.name} is not done after {timeout:g} s")
        if self._latest.HasField("error"):
            raise error_codec.error_from_status(self._latest.error)
        return _unpack(self._latest.response)

    def cancel(self) -> None:
        """Have the work end within a second; nothing if it has ended."""
        request = operations_pb2.CancelOperationRequest(name=self.name)
        self._connection.call(self._stub().CancelOperation, request)

    def delete(self) -> None:
        """Have the server forget the operation.

        Raises:
            InvalidInput: it is not done.
        """
        request = operations_pb2.DeleteOperationRequest(name=self.name)
        self._connection.call(self._stub().DeleteOperation, request)

    def close(self) -> None:
        """Close the connection; the work goes on."""
        self._connection.close()

    def _refresh(self) -> operations_pb2.Operation:
        if not self._latest.done:
            request = operations_pb2.GetOperationRequest(name=self.name)
            self._latest = self._connection.call(self._stub().GetOperation, request)
        return self._latest

    def _wait_at_server(self, seconds: float) -> None:
        timeout = duration_pb2.Duration()
        timeout.FromMilliseconds(round(seconds * 1000))
        request = operations_pb2.WaitOperationRequest(name=self.name, timeout=timeout)
        try:
            self._latest = self._connection.call(self._stub().WaitOperation, request)
        except Overloaded:  # too many wait there
            self._refresh()

    def _stub(self) -> operations_pb2_grpc.OperationsStub:
        return operations_pb2_grpc.OperationsStub(self._connection.channel())


def connect_operation(
    address: str, name: str, *, timeout: float = 30.0, retry_for: float = 30.0
) -> RemoteOperation:
    """Come back to an operation.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        name: ``operations/ID``.
        timeout: seconds that one call may take.
        retry_for: seconds of patience while nobody answers or the server is full, at each call.

    Raises:
        ServiceUnavailable: nobody answers there.
        UnknownName: it has no such operation.
    """
    connection = Connection(address, timeout=timeout, retry_for=retry_for)
    stub = operations_pb2_grpc.OperationsStub(connection.channel())
    request = operations_pb2.GetOperationRequest(name=name)
    return RemoteOperation(connection, connection.call(stub.GetOperation, request))


def _unpack(packed: any_pb2.Any) -> Message:
    try:
        kind = descriptor_pool.Default().FindMessageTypeByName(packed.TypeName())
        message = message_factory.GetMessageClass(kind)()
        packed.Unpack(message)
    except (KeyError, DecodeError) as error:
        raise InternalError(f"the server sent {packed.type_url!r}, which is not known") from error
    return message
