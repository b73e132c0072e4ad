"""What happens around every call of our services: a place to work in, an end where nobody waits any
more, and errors by table."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_status import rpc_status

from ranksrgan.contracts import cancellation, codec
from ranksrgan.contracts.errors import (
    InternalError,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
)
from ranksrgan.contracts.serving.methods import WITHOUT_A_PLACE

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ranksrgan.contracts.rpc import ServerLimits

    Handler = grpc.RpcMethodHandler[Any, Any]


class Admission(grpc.ServerInterceptor):
    """Around every call of our services: a place to work in, cancellation, and errors by table."""

    def __init__(self, limits: ServerLimits, services: set[str]) -> None:
        #: Set when streams of responses to one request are to end after the one at hand.
        self.stopping = threading.Event()
        self._places = threading.Semaphore(limits.workers)
        self._tickets = threading.Semaphore(limits.workers + limits.queue)
        self._streams = threading.Semaphore(limits.streams)
        self._waiters = threading.Semaphore(limits.waiters)
        self._limits = limits
        self._services = services

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        service = method.strip("/").partition("/")[0]
        if handler is None or service not in self._services:
            return handler
        if handler.unary_unary is not None:
            admit = self._waiter if method in WITHOUT_A_PLACE else self._worker
            return grpc.unary_unary_rpc_method_handler(
                self._one_answer(handler.unary_unary, method, admit),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._many_answers(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._answers(handler.stream_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return handler

    def _one_answer(
        self,
        behaviour: Callable[..., Any],
        method: str,
        admit: Callable[[grpc.ServicerContext], AbstractContextManager[None]],
    ) -> Callable[..., Any]:
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                with admit(context):
                    return behaviour(request, context)
            except Exception as error:
                return _fail(error, method, context)

        return answer

    def _many_answers(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        """A stream of responses to one request: a place is held while one of them is made.

        gRPC asks for the next when the one before is on its way, so a client that does not read
        holds no place, and what is made for it does not pile up. Our streams have a cursor: where a
        server stops, the client goes on with the next one.
        """

        def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                with self._stream():
                    responses = behaviour(request, context)
                    while not self.stopping.is_set():
                        with self._place(context):
                            response = next(responses, None)
                        if response is None:
                            return
                        yield response
                    raise ServiceUnavailable("the server is stopping; go on at the last cursor")
            except Exception as error:
                _fail(error, method, context)

        return answer

    def _answers(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        """A stream holds a place from each request that it takes to the response, and none between.

        Our streams answer each request before they take the next one.
        """

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            working = ExitStack()

            def taken() -> Iterator[Any]:
                for request in requests:
                    working.enter_context(self._place(context))
                    yield request

            try:
                with self._stream():
                    for response in behaviour(taken(), context):
                        working.close()
                        yield response
            except grpc.RpcError:
                raise  # the client has gone; gRPC knows it as its own
            except Exception as error:
                _fail(error, method, context)
            finally:
                working.close()

        return answer

    @contextmanager
    def _worker(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._tickets.acquire(blocking=False):
            raise Overloaded(
                f"{self._limits.workers} requests are worked on and {self._limits.queue} wait; "
                "try again in a moment"
            )
        try:
            with self._place(context):
                yield
        finally:
            self._tickets.release()

    @contextmanager
    def _waiter(self, context: grpc.ServicerContext) -> Iterator[None]:
        if not self._waiters.acquire(blocking=False):
            raise Overloaded(f"{self._limits.waiters} clients wait already; ask now and then")
        try:
            yield
        finally:
            self._waiters.release()

    @contextmanager
    def _stream(self) -> Iterator[None]:
        if not self._streams.acquire(blocking=False):
            raise Overloaded(f"{self._limits.streams} streams are open; try again in a moment")
        try:
            yield
        finally:
            self._streams.release()

    @contextmanager
    def _place(self, context: grpc.ServicerContext) -> Iterator[None]:
        while not self._places.acquire(timeout=0.1):
            if not context.is_active():
                raise RequestCancelled("the client left before its turn")
        try:
            with cancellation.scope(context.is_active):
                cancellation.check()
                yield
        finally:
            self._places.release()


def _fail(error: Exception, method: str, context: grpc.ServicerContext) -> Any:
    """End the call with the error's status; of what was not foreseen only a number leaves us."""
    if isinstance(error, RankSRGANError):
        failure = error
    else:
        incident = uuid.uuid4().hex[:12]
        log.exception("incident %s in %s", incident, method)
        failure = InternalError(f"the server failed; its log has incident {incident}")
    return context.abort_with_status(rpc_status.to_status(codec.error_to_proto(failure)))
