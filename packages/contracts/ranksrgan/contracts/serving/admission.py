"""What happens around every call of our services: a place to work in, an end where nobody waits any
more, and errors by table."""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc_status import rpc_status

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidInput,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
)
from ranksrgan.contracts.serving.call_threads import AT_ONCE, InPool
from ranksrgan.contracts.serving.devices import Devices
from ranksrgan.contracts.serving.first_thread import FirstThread
from ranksrgan.contracts.serving.limits import ServerLimits
from ranksrgan.contracts.serving.methods import (
    FROM_MEMORY,
    HANDLERS,
    LOADING,
    WAITING,
    service_of,
)
from ranksrgan.contracts.serving.observer import Observer, Observers
from ranksrgan.contracts.serving.pace import TimeInside
from ranksrgan.contracts.serving.tickets import Ticket, Tickets
from ranksrgan.contracts.serving.turn import (
    CallEnd,
    Turn,
    end_of,
    has_ended,
    taking,
    waited_for,
)
from ranksrgan.contracts.serving.waits import Waits
from ranksrgan.contracts.wire import error_codec

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

# Calls that load models, and calls that answer from memory: each kind at a time.
_LOADS = 16
_LOOKS = 16
# Seconds that the request of one of the latter may take: it is small.
_LOOK_REQUEST = 5.0
#: Calls that may be open beside `ServerLimits.calls`, with nothing to wait for.
BESIDE = _LOADS + _LOOKS

# Methods that take an image in many requests, and give another in many responses.
_FILES = frozenset({"/ranksrgan.contracts.v1.SuperResolutionService/UpscaleStream"})


class Admission(grpc.ServerInterceptor):
    """Around every call of our services: a place to work in, cancellation, and errors by table.

    Whether there is room is decided before the request is read. Handlers of one request therefore
    become handlers of a stream of requests, which is the same on the wire: gRPC calls those when a
    call begins, the others when its request is there and has cost memory, time and a thread.

    Args:
        limits: what to take on.
        services: full names of ours.
        waits: of the server: a request has to come in time.
        observers: are told what happens.
        first_thread: see `Devices`.
    """

    def __init__(
        self,
        limits: ServerLimits,
        services: set[str],
        waits: Waits,
        observers: Sequence[Observer] = (),
        first_thread: FirstThread | None = None,
    ) -> None:
        self._places = threading.Semaphore(limits.workers)
        self._tickets = Tickets(limits.workers + limits.queue)
        streams = f"{limits.streams} streams are open; try again in a moment"
        self._streams = _Bound(limits.streams, streams)
        bounds = {
            WAITING: _Bound(limits.waiters, f"{limits.waiters} clients wait already; ask later"),
            LOADING: _Bound(_LOADS, f"{_LOADS} loads are under way; try again in a moment"),
            FROM_MEMORY: _Bound(_LOOKS, f"{_LOOKS} such calls are open; try again in a moment"),
        }
        self._beside = {method: bound for kind, bound in bounds.items() for method in kind}
        self._limits = limits
        self._services = services
        self._waits = waits
        self._observers = Observers(observers)
        self._devices = Devices(limits.batch_size, limits.batch_wait, self._observers, first_thread)
        self._time_inside = TimeInside()
        self._kept = functools.lru_cache(HANDLERS)(self._around)
        self._kept_refusals = functools.lru_cache(HANDLERS)(self._refusal)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Streams end after what they are at; all other calls that have begun go on."""
        self._stopping.set()

    def close(self) -> None:
        """End the threads of the devices, when what they have begun is done."""
        self._devices.close()

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        service = service_of(method)
        if handler is None or service not in self._services:
            return handler
        one_answer = handler.unary_unary is not None
        if one_answer and method not in self._beside and not self._tickets.left:
            return self._kept_refusals(method)
        return self._kept(handler, method)

    def _around(self, handler: Handler, method: str) -> Handler:
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._one_answer(handler.unary_unary, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.stream_stream_rpc_method_handler(
                self._many_answers(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream is not None:
            answers = self._file_answers if method in _FILES else self._answers
            return grpc.stream_stream_rpc_method_handler(
                answers(handler.stream_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return handler

    def _one_answer(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        beside = self._beside.get(method)
        within = self._limits.arrival
        if method in FROM_MEMORY:
            within = min(within, _LOOK_REQUEST)

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._call(method, context) as call:
                if beside is not None:
                    with beside.held():
                        return behaviour(self._only(requests, context, within), context)
                with self._ticket(context) as ticket:
                    request = self._only(requests, context, within)
                    with self._inside(ticket), self._turn(call):
                        return behaviour(request, context)

        return answer

    def _refusal(self, method: str) -> Handler:
        """What `_one_answer` would come to without a ticket, at a small part of the cost.

        An overloaded server has more calls to refuse than to answer, and each second that it takes
        for them is one less for the answers.
        """

        def refuse(requests: Iterator[Any], context: grpc.ServicerContext) -> NoReturn:
            self._observers.request(method, Overloaded.status, 0.0)
            context.abort_with_status(_full(self._tickets.number, self._time_inside.retry_after))

        return grpc.stream_unary_rpc_method_handler(InPool(refuse, AT_ONCE))

    def _many_answers(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        """A stream of responses to one request: a place is held while one of them is made.

        gRPC asks for the next when the one before is on its way, so a client that does not read
        holds no place, and what is made for it does not pile up. Our streams have a cursor: where a
        server stops, or the client has paused for long, the client goes on with the next one.
        """

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            within = self._limits.arrival
            paused = ServiceUnavailable(
                f"nothing was read for {within:g} s; go on at the last cursor"
            )
            with self._call(method, context) as call, self._streams.held():
                request = self._only(requests, context, within)
                with closing(behaviour(request, context)) as responses:
                    while not self._stopping.is_set():
                        with self._turn(call):
                            response = next(responses, None)
                        if response is None:
                            return
                        with self._waits.sending(context, within, late=paused, leaves=True):
                            yield response
                raise ServiceUnavailable("the server is stopping; go on at the last cursor")

        return answer

    def _answers(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        """A stream holds a place from each request that it takes to the response, and none between.

        Our streams answer each request before they take the next one, or take it for a part of what
        they will answer. Where a server stops, that is answered, and the client goes on with the
        rest.
        """

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._call(method, context) as call, self._streams.held(), ExitStack() as working:
                begun = owing = False

                def following() -> Any:
                    if owing:
                        return self._waits.part(requests, context, self._limits.arrival)
                    if begun:
                        return self._waits.another(requests, context)
                    return self._waits.first(requests, context, self._limits.arrival)

                def taken() -> Iterator[Any]:
                    nonlocal begun, owing
                    while (request := following()) is not None:
                        begun = owing = True
                        working.enter_context(self._turn(call))
                        yield request
                        working.close()
                    if has_ended(context):
                        call.code = end_of(context)

                with closing(behaviour(taken(), context)) as responses:
                    for response in responses:
                        working.close()
                        owing = False
                        with self._waits.sending(context, self._limits.arrival, leaves=True):
                            yield response

        return answer

    def _file_answers(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        """A place is held while a response is made, but not while a request is waited for.

        gRPC asks for the next when the one before is on its way, as in `_many_answers`. A server
        that stops finishes the image.
        """

        def answer(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            within = self._limits.arrival

            def arriving() -> Iterator[Any]:
                request = self._waits.first(requests, context, within)
                while request is not None:
                    yield request
                    request = self._waits.part(requests, context, within)

            with (
                self._call(method, context) as call,
                self._streams.held(),
                closing(behaviour(waited_for(arriving()), context)) as responses,
            ):
                while True:
                    with self._turn(call):
                        response = next(responses, None)
                    if response is None:
                        return
                    with self._waits.sending(context, within):
                        yield response

        return answer

    @contextmanager
    def _call(self, method: str, context: grpc.ServicerContext) -> Iterator[_Call]:
        """A call from its beginning to its end, whichever that is."""
        call = _Call(method, context)
        began = time.monotonic()
        try:
            yield call
        except (grpc.RpcError, GeneratorExit):
            # The client has gone while a request or the next response was waited for, or did not
            # read what was sent.
            call.code = end_of(context)
            raise  # gRPC knows it as its own
        except Exception as error:
            call.fail(error)
        finally:
            self._observers.request(method, call.code, time.monotonic() - began)

    def _only(self, requests: Iterator[Any], context: grpc.ServicerContext, within: float) -> Any:
        """The request of a call that has one, which comes in so many seconds."""
        request = self._waits.first(requests, context, within)
        if request is None:
            raise InvalidInput("the request is missing, or it is no message of this method")
        return request

    @contextmanager
    def _ticket(self, context: grpc.ServicerContext) -> Iterator[Ticket]:
        # Only the status reaches the client, and RESOURCE_EXHAUSTED alone is a request too large.
        slow = ServiceUnavailable("too many requests are long on their way; try again in a moment")
        ticket = self._tickets.take(lambda: self._waits.end(context, slow))
        if ticket is None:
            raise _overloaded(self._tickets.number, self._time_inside.retry_after)
        try:
            yield ticket
        finally:
            self._tickets.give(ticket)

    @contextmanager
    def _inside(self, ticket: Ticket) -> Iterator[None]:
        """The time from the request to the answer."""
        if not self._tickets.arrived(ticket):
            raise _overloaded(self._tickets.number, self._time_inside.retry_after)
        began = time.monotonic()
        yield
        self._time_inside.measured(time.monotonic() - began)

    @contextmanager
    def _turn(self, call: _Call) -> Iterator[None]:
        """One request is worked on: it has a place but while the device has its work."""
        turn = Turn(self._devices, call.service, call.deadline, call.end, lambda: self._aside(call))
        self._devices.expect(1)
        try:
            self._enter(call)
            try:
                with cancellation.scope(call.end.wanted), taking(turn):
                    cancellation.check()
                    yield
            finally:
                if call.has_place:
                    self._leave(call)
        finally:
            turn.arrive()

    @contextmanager
    def _aside(self, call: _Call) -> Iterator[None]:
        self._leave(call)
        yield
        self._enter(call)

    def _enter(self, call: _Call) -> None:
        while not self._places.acquire(timeout=0.1):
            if not call.end.wanted():
                raise RequestCancelled("the client left before its turn")
        call.has_place = True

    def _leave(self, call: _Call) -> None:
        call.has_place = False
        self._places.release()


class _Bound:
    """So many calls of a kind may be open.

    Args:
        number: of them.
        refusal: what one more is told.
    """

    def __init__(self, number: int, refusal: str) -> None:
        self._left = threading.Semaphore(number)
        self._refusal = refusal

    @contextmanager
    def held(self) -> Iterator[None]:
        """The time of one call.

        Raises:
            Overloaded: there are as many already.
        """
        if not self._left.acquire(blocking=False):
            raise Overloaded(self._refusal)
        try:
            yield
        finally:
            self._left.release()


class _Call:
    """A call of one of our services, as admission sees it.

    Attributes:
        code: name of the status that it ends with.
        has_place: whether it is one of those that are worked on.
    """

    def __init__(self, method: str, context: grpc.ServicerContext) -> None:
        left = context.time_remaining()
        self.service = service_of(method)
        self.deadline = None if left is None else time.monotonic() + left
        self.end = CallEnd(context)
        self.code = "OK"
        self.has_place = False
        self._method = method
        self._context = context

    def fail(self, error: Exception) -> NoReturn:
        """End it with the error's status; of what was not foreseen only a number leaves us."""
        if isinstance(error, RequestCancelled) and self._is_late():
            failure: RankSRGANError = DeadlineExceeded("the deadline passed during the work")
        elif isinstance(error, RankSRGANError):
            failure = error
        else:
            incident = uuid.uuid4().hex[:12]
            log.exception("incident %s in %s", incident, self._method)
            failure = InternalError(f"the server failed; its log has incident {incident}")
        self.code = failure.status
        self._context.abort_with_status(rpc_status.to_status(error_codec.error_to_proto(failure)))

    def _is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


def _overloaded(requests: int, retry_after: float) -> Overloaded:
    return Overloaded(
        f"{requests} requests are worked on or wait; try again in a moment",
        retry_after=retry_after,
    )


@functools.lru_cache(maxsize=256)
def _full(requests: int, retry_after: float) -> grpc.Status:
    """`_overloaded` as gRPC has it; to make it takes as long as the rest of a refusal."""
    return rpc_status.to_status(error_codec.error_to_proto(_overloaded(requests, retry_after)))
