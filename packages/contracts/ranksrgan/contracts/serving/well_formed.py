"""A request that is no message of its method is the client's mistake, and is answered as one.

gRPC itself would say INTERNAL, as of a fault of the server, and log a traceback for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.methods import HANDLERS
from ranksrgan.contracts.wire import error_codec

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


class WellFormed(grpc.ServerInterceptor):
    """Around every call, of whichever service: bytes that cannot be read end in INVALID_ARGUMENT.

    The first of the interceptors, so that such a call takes no place.
    """

    def __init__(self) -> None:
        self._kept = lru_cache(HANDLERS)(self._around)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        return None if handler is None else self._kept(handler)

    def _around(self, handler: Handler) -> Handler:
        if handler.request_deserializer is None:
            return handler
        read = _reading(handler.request_deserializer)
        write = handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_one(handler.unary_unary), read, write)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_one(handler.unary_stream), read, write)
        if handler.stream_unary is not None:
            return grpc.stream_unary_rpc_method_handler(_many(handler.stream_unary), read, write)
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                _stream(handler.stream_stream), read, write
            )
        return handler


class _Unreadable:
    """Stands for a request that could not be read until somebody can answer it."""


def _reading(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read_or_tell(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _Unreadable()

    return read_or_tell


def _one(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with one request; see `StandardServices` for those that get a way to send."""

    def answer(request: Any, context: grpc.ServicerContext, *send: Any) -> Any:
        if isinstance(request, _Unreadable):
            _refuse(_damaged(), context)
        return behaviour(request, context, *send)

    return answer


def _many(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with a stream of requests and one response."""

    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(_readable(requests), context)
        except InvalidInput as error:  # of a service whose errors nobody else looks after
            return _refuse(error, context)

    return answer


def _stream(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with a stream of requests and one of responses."""

    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(_readable(requests), context)
        except InvalidInput as error:
            _refuse(error, context)

    return answer


def _readable(requests: Iterator[Any]) -> Iterator[Any]:
    for request in requests:
        if isinstance(request, _Unreadable):
            raise _damaged()
        yield request


def _damaged() -> InvalidInput:
    return InvalidInput("the request is damaged: its bytes are no message of this method")


def _refuse(error: InvalidInput, context: grpc.ServicerContext) -> Any:
    return context.abort_with_status(rpc_status.to_status(error_codec.error_to_proto(error)))
