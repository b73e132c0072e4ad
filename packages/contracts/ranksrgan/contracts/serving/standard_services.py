"""Health and reflection, which every server has and whoever reaches it may ask.

Without a limit each of their calls could hold a thread of the server for ever, by sending nothing.
The threads of health are fewer than its calls may be, so that most of them may wait for requests,
and the oldest of those waits ends for a call that comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from ranksrgan.contracts.errors import (
    InvalidInput,
    Overloaded,
    RankSRGANError,
)
from ranksrgan.contracts.serving.call_threads import InPool
from ranksrgan.contracts.serving.methods import service_of
from ranksrgan.contracts.serving.surrounding import Surrounding
from ranksrgan.contracts.serving.waits import Crowd, Waits
from ranksrgan.contracts.wire import error_codec

#: Streams of reflection that may be open at a time: each holds a thread.
REFLECTIONS = 4

# Threads for health alone, so that whatever else happens it finds one, and how many of them may
# wait for a request that is longer on its way than usual.
_HEALTH_THREADS = 64
_HEALTH_WAITS = 48
_USUAL = 0.5
# Seconds that a request of health, or the next one of reflection and its answer, may take.
_HEALTH_REQUEST = 5.0
_REFLECTION_REQUEST = 30.0


class StandardServices(Surrounding):
    """Around the calls of health and reflection: threads, bounds and limits of time.

    Args:
        waits: ends calls whose requests do not come.
    """

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits
        self._pool = ThreadPoolExecutor(_HEALTH_THREADS, "health")
        pushed = "too many requests of health are on their way; try again in a moment"
        self._coming = Crowd(_HEALTH_WAITS, pushed)
        self._reflections = threading.Semaphore(REFLECTIONS)

    def _concerns(self, handler: Any, details: grpc.HandlerCallDetails) -> bool:
        return service_of(details.method) in (health.SERVICE_NAME, reflection.SERVICE_NAME)

    def _around(self, handler: Any) -> Any:
        read, write = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary is not None:
            check = InPool(self._health(handler.unary_unary), self._pool)
            return grpc.stream_unary_rpc_method_handler(check, read, write)
        if handler.unary_stream is not None:
            watch = InPool(self._health(handler.unary_stream), self._pool, tells=True)
            return grpc.stream_stream_rpc_method_handler(watch, read, write)
        asked = self._reflection(handler.stream_stream)
        return grpc.stream_stream_rpc_method_handler(asked, read, write)

    def _health(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def answer(requests: Iterator[Any], context: grpc.ServicerContext, *send: Any) -> Any:
            try:
                request = self._waits.first(
                    requests, context, _HEALTH_REQUEST, self._coming, _USUAL
                )
                if request is None:
                    raise InvalidInput("the request is missing")
                return behaviour(request, context, *send)
            except RankSRGANError as error:
                return _refuse(error, context)

        return answer

    def _reflection(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        def asked(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            while True:
                request = self._waits.first(requests, context, _REFLECTION_REQUEST)
                if request is None:
                    return
                yield request

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                if not self._reflections.acquire(blocking=False):
                    raise Overloaded(
                        f"{REFLECTIONS} clients ask for the methods; try again in a moment"
                    )
                try:
                    for response in behaviour(asked(requests, context), context):
                        with self._waits.sending(context, _REFLECTION_REQUEST):
                            yield response
                finally:
                    self._reflections.release()
            except RankSRGANError as error:
                _refuse(error, context)

        return answer


def _refuse(error: RankSRGANError, context: grpc.ServicerContext) -> Any:
    return context.abort_with_status(rpc_status.to_status(error_codec.error_to_proto(error)))
