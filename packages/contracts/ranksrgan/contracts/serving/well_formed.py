"""A request that is no message of its method is the client's mistake, and is answered as one.

gRPC itself would say INTERNAL, as of a fault of the server, and log a traceback for each. One that
takes too much to parse is not: that is done in the one thread of gRPC that hands calls to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from ranksrgan.contracts.errors import InvalidInput, LimitExceeded
from ranksrgan.contracts.serving.surrounding import Surrounding
from ranksrgan.contracts.wire import error_codec
from ranksrgan.contracts.wire.fields import has_more_fields

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

#: Of a request, those of the messages in it included; as many images as one may have, as many
#: references and places for gradients have fewer.
MOST_FIELDS = 2**17


class WellFormed(Surrounding):
    """Around every call, of whichever service: bytes that cannot be read end in INVALID_ARGUMENT,
    and those of too many fields in RESOURCE_EXHAUSTED.

    The first of the interceptors, so that such a call takes no place.
    """

    def _concerns(self, handler: Handler, details: grpc.HandlerCallDetails) -> bool:
        return handler.request_deserializer is not None

    def _around(self, handler: Handler) -> Handler:
        read = _reading(cast(Callable[[bytes], Any], handler.request_deserializer))
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


@dataclass(frozen=True)
class _Unreadable:
    """Stands for a request that was not read until somebody can answer it."""

    error: InvalidInput | LimitExceeded


def _reading(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """``FromString`` of a message, which it is a method of."""
    kind: Descriptor = read.__self__.DESCRIPTOR  # type: ignore[attr-defined]

    def read_or_tell(data: bytes) -> Any:
        if has_more_fields(data, kind, MOST_FIELDS):
            return _Unreadable(
                LimitExceeded(f"the request has over {MOST_FIELDS} fields; send less at a time")
            )
        try:
            return read(data)
        except DecodeError:
            return _Unreadable(
                InvalidInput("the request is damaged: its bytes are no message of this method")
            )

    return read_or_tell


def _one(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with one request; see `StandardServices` for those that get a way to send."""

    def answer(request: Any, context: grpc.ServicerContext, *send: Any) -> Any:
        if isinstance(request, _Unreadable):
            _refuse(request.error, context)
        return behaviour(request, context, *send)

    return answer


def _many(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with a stream of requests and one response."""

    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(_readable(requests), context)
        except (InvalidInput, LimitExceeded) as error:
            # Of a service whose errors nobody else looks after.
            return _refuse(error, context)

    return answer


def _stream(behaviour: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method with a stream of requests and one of responses."""

    def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from behaviour(_readable(requests), context)
        except (InvalidInput, LimitExceeded) as error:
            _refuse(error, context)

    return answer


def _readable(requests: Iterator[Any]) -> Iterator[Any]:
    for request in requests:
        if isinstance(request, _Unreadable):
            raise request.error
        yield request


def _refuse(error: InvalidInput | LimitExceeded, context: grpc.ServicerContext) -> Any:
    return context.abort_with_status(rpc_status.to_status(error_codec.error_to_proto(error)))
