"""Shared memory for calls through unix sockets, and for no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import grpc

from ranksrgan.contracts.serving.methods import service_of
from ranksrgan.contracts.serving.surrounding import Surrounding
from ranksrgan.contracts.wire import request_segments
from ranksrgan.contracts.wire.request_segments import RequestSegments, SegmentCache

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]


class SharedTensors(Surrounding):
    """Gives each call with one answer that came through a unix socket its `RequestSegments`.

    It belongs within what turns errors into statuses.

    Args:
        services: whose calls.
        max_bytes: that one request may name to be read; results are as large as they are.
    """

    def __init__(self, services: set[str], max_bytes: int) -> None:
        super().__init__()
        self._services = services
        self._max_bytes = max_bytes
        self._cache = SegmentCache()

    def _concerns(self, handler: Handler, details: grpc.HandlerCallDetails) -> bool:
        return handler.unary_unary is not None and service_of(details.method) in self._services

    def _around(self, handler: Handler) -> Handler:
        behaviour = cast(Callable[..., Any], handler.unary_unary)

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            local = context.peer().startswith("unix:")
            segments = RequestSegments(self._cache, self._max_bytes) if local else None
            with request_segments.scope(segments):
                return behaviour(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
