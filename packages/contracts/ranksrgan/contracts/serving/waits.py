"""What a call waits for that its client alone can do, and the end of such a wait.

gRPC waits for a request without a limit and in the thread of the call, which wakes up only for the
request or for the end of the call. So calls that wait too long, or whose client is not known any
more, are ended from here, by one thread for all of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import takewhile
from operator import attrgetter
from typing import Any

import grpc
from grpc_status import rpc_status

from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    RankSRGANError,
    ServiceUnavailable,
    Unauthenticated,
)
from ranksrgan.contracts.serving.caller import CALLER
from ranksrgan.contracts.wire import error_codec

log = logging.getLogger(__name__)

# Seconds between two looks at what waits, at most.
_LOOK = 1.0
_LOOK_WHILE_STOPPING = 0.1
# Seconds that a request which has begun to come when the server stops may still take.
_LAST_REQUEST = 1.0

# The end of a call, with a status.
_Cancel = Callable[[int, str], object]


@dataclass(eq=False)
class Crowd:
    """Waits of one kind, which share what they hold: where that is too much, the oldest end.

    So whoever comes soon finds a thread, or memory, however many wait before it.

    Attributes:
        room: what they may hold at a time: threads, one each and fewer than there are, or bytes.
        pushed: what a call is told that makes room for another, UNAVAILABLE.
        held: by those that are not to end; for `Waits` alone, as the next one.
        waits: the oldest first, but for those that are to end.
    """

    room: int
    pushed: str
    held: int = 0
    waits: dict[_Wait, None] = field(default_factory=dict)


@dataclass(eq=False)
class _Wait:
    """One call that waits.

    Attributes:
        context: of the call.
        began: when, on the monotonic clock.
        due: when it has to have an end, on the monotonic clock; None: it need not.
        late: what the call is told then.
        leaves: whether it ends when the server stops.
        still_known: of the `Caller`.
        crowd: that it is one of.
        held: of the crowd's room.
        least: seconds that it has in any case, whoever else comes.
        client: whose call it is, where that counts.
        ended: what it was told; None: nothing.
    """

    context: grpc.ServicerContext
    began: float
    due: float | None
    late: RankSRGANError
    leaves: bool
    still_known: Callable[[], None] | None
    crowd: Crowd | None = None
    held: int = 1
    least: float = 0.0
    client: str = ""
    ended: RankSRGANError | None = None


class Waits:
    """The calls of a server that wait for their clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows, and what waits for its end
        self._waiting: set[_Wait] = set()
        self._watching: threading.Thread | None = None
        self._stopping = False
        self._look = threading.Event()
        self._closed = False

    def first(
        self,
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        within: float,
        crowd: Crowd | None = None,
        least: float = 0.0,
    ) -> Any:
        """The first request of a call; None if there is none.

        Until it is there, nothing was accepted: a server that stops gives it a second.

        Args:
            requests: of the call.
            context: of the call.
            within: seconds that it may take.
            crowd: of which the wait is one.
            least: seconds that it may take whoever else comes, if it is one of a crowd.

        Raises:
            DeadlineExceeded: it did not come in time.
            ServiceUnavailable: the server stops, or others of the crowd have come since.
            Unauthenticated: the client's token has been taken from it, here and below.
            grpc.RpcError: the client has gone.
        """
        late = DeadlineExceeded(f"the request did not come within {within:g} s")
        with self._wait(context, within, late, leaves=True, crowd=crowd, least=least):
            return next(requests, None)

    def part(self, requests: Iterator[Any], context: grpc.ServicerContext, within: float) -> Any:
        """A further request of what was begun; None if there is none. A server that stops waits
        for it.

        Raises:
            DeadlineExceeded, grpc.RpcError: as `first`.
        """
        late = DeadlineExceeded(f"nothing came for {within:g} s, and there is a part missing")
        with self._wait(context, within, late, leaves=False):
            return next(requests, None)

    def another(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        """The next request of a stream that owes nothing and may wait for ever; None at its end.

        Raises:
            ServiceUnavailable: the server stops, now or before.
            grpc.RpcError: the client has gone.
        """
        with self._wait(context, None, _going(), leaves=True):
            return next(requests, None)

    @contextmanager
    def sending(
        self,
        context: grpc.ServicerContext,
        within: float,
        *,
        late: RankSRGANError | None = None,
        leaves: bool = False,
    ) -> Iterator[None]:
        """The time in which a client takes a message.

        Where this is around a generator's ``yield``, gRPC closes the generator at the end of the
        call; the status of the context then says what the call was told.

        Args:
            context: of the call.
            within: seconds that it may take.
            late: what the call is told after them, DEADLINE_EXCEEDED if nothing else.
            leaves: whether a server that stops gives it but a second: the client can go on
                elsewhere.

        Raises:
            DeadlineExceeded: or what else ``late`` is.
            ServiceUnavailable: the server stops, if it ``leaves``.
        """
        late = late or DeadlineExceeded(f"nothing was read for {within:g} s")
        with self._wait(context, within, late, leaves=leaves):
            yield

    def taken(
        self,
        context: grpc.ServicerContext,
        within: float,
        crowd: Crowd,
        held: int,
        least: float,
        client: str,
    ) -> None:
        """Look after the answer of a call until its client has taken it; waits for nothing.

        Args:
            context: of the call.
            within: seconds that it may take; then the call ends with DEADLINE_EXCEEDED.
            crowd: of which the answer is one.
            held: of the crowd's room.
            least: seconds that it may take whoever else comes.
            client: see `number_of`.
        """
        late = DeadlineExceeded(f"the answer was not read within {within:.3g} s")
        known = CALLER.get().still_known
        now = time.monotonic()
        wait = _Wait(context, now, now + within, late, False, known, crowd, held, least, client)
        self._begin(wait)

        def over() -> None:
            self._over(wait)
            if wait.ended is not None:  # which the line of the call could not say yet
                log.info("a call of %s ended after all: %s", client or "somebody", wait.ended)

        if not context.add_callback(over):
            over()  # the call has ended before

    def number_of(self, crowd: Crowd, client: str, age: float) -> int:
        """How many waits of a client in a crowd have lasted for so many seconds."""
        before = time.monotonic() - age
        with self._lock:
            old = takewhile(lambda wait: wait.began <= before, crowd.waits)
            return sum(wait.client == client for wait in old)

    def end(self, context: grpc.ServicerContext, error: RankSRGANError) -> None:
        """End a call if it waits; the wait raises ``error``."""
        with self._lock:
            for wait in tuple(self._waiting):
                if wait.context is context:
                    self._end(wait, error)

    def stop(self) -> None:
        """End what owes nothing."""
        with self._lock:
            self._stopping = True
            now = time.monotonic()
            for wait in tuple(self._waiting):
                self._hasten(wait, now)
            self._end_late(now)
        self._look.set()

    def close(self) -> None:
        """Look after nothing any more."""
        with self._lock:
            self._closed = True
        self._look.set()

    @contextmanager
    def _wait(
        self,
        context: grpc.ServicerContext,
        within: float | None,
        late: RankSRGANError,
        *,
        leaves: bool,
        crowd: Crowd | None = None,
        least: float = 0.0,
    ) -> Iterator[None]:
        now, known = time.monotonic(), CALLER.get().still_known
        due = None if within is None else now + within
        wait = _Wait(context, now, due, late, leaves, known, crowd, least=least)
        self._begin(wait)
        try:
            yield
        except grpc.RpcError:
            if wait.ended is None:  # the client has gone by itself
                raise
        except GeneratorExit:
            if wait.ended is not None:
                context.set_code(rpc_status.to_status(error_codec.error_to_proto(wait.ended)).code)
            raise
        finally:
            self._over(wait)
        if wait.ended is not None:
            raise wait.ended

    def _begin(self, wait: _Wait) -> None:
        with self._lock:
            if self._watching is None:
                self._watching = threading.Thread(target=self._watch, name="waits", daemon=True)
                self._watching.start()
            if self._stopping:
                self._hasten(wait, wait.began)
                if wait.due is not None and wait.due <= wait.began:
                    raise wait.late
            self._waiting.add(wait)
            if wait.crowd is not None:
                self._join(wait.crowd, wait)

    def _over(self, wait: _Wait) -> None:
        with self._lock:
            self._forget(wait)

    def _join(self, crowd: Crowd, wait: _Wait) -> None:
        crowd.waits[wait] = None
        crowd.held += wait.held
        while crowd.held > crowd.room and len(crowd.waits) > 1:
            oldest = next(iter(crowd.waits))
            self._leave(oldest)
            due, pushed = oldest.began + oldest.least, ServiceUnavailable(crowd.pushed)
            if due <= wait.began:
                self._end(oldest, pushed)
            elif oldest.due is None or due < oldest.due:
                oldest.due, oldest.late = due, pushed
                self._look.set()

    def _forget(self, wait: _Wait) -> None:
        self._waiting.discard(wait)
        self._leave(wait)

    def _leave(self, wait: _Wait) -> None:
        """Its crowd, if it is one of a crowd still."""
        if wait.crowd is not None and wait in wait.crowd.waits:
            del wait.crowd.waits[wait]
            wait.crowd.held -= wait.held

    def _hasten(self, wait: _Wait, now: float) -> None:
        """The server stops: let a wait end soon, at once if nothing was begun."""
        if not wait.leaves:
            return
        due = now if wait.due is None else now + _LAST_REQUEST
        if wait.due is None or due < wait.due:
            wait.due, wait.late = due, _going()

    def _watch(self) -> None:
        pause = _LOOK
        while True:
            self._look.wait(pause)
            with self._lock:
                if self._closed:
                    return
                self._look.clear()
                self._end_unknown()
                now = time.monotonic()
                self._end_late(now)
                pause = _LOOK_WHILE_STOPPING if self._stopping else _LOOK
                for wait in self._waiting:
                    if wait.due is not None:
                        pause = min(pause, wait.due - now)

    def _end_unknown(self) -> None:
        """A client whose token is taken from it leaves, however silent it is."""
        for wait in tuple(self._waiting):
            if wait.still_known is not None:
                try:
                    wait.still_known()
                except Unauthenticated as error:
                    self._end(wait, error)

    def _end_late(self, now: float) -> None:
        for wait in tuple(self._waiting):
            if wait.due is not None and wait.due <= now:
                self._end(wait, wait.late)

    def _end(self, wait: _Wait, error: RankSRGANError) -> None:
        self._forget(wait)
        wait.ended = error
        end_call(wait.context, error)


def end_call(context: grpc.ServicerContext, error: RankSRGANError) -> None:
    """End a call from another thread than its own, with the status of an error.

    What goes wrong is logged and not raised: those who call this look after other calls too.
    """
    ends: list[Callable[[], object]] = [context.cancel]
    if (cancel := _cancel_with_status(context)) is not None:
        ends.insert(0, partial(_tell, cancel, error))
    for end in ends:
        try:
            end()
        except Exception:
            log.exception("a call could not be ended with %s", error.status)
        else:
            return


def _tell(cancel: _Cancel, error: RankSRGANError) -> None:
    status = rpc_status.to_status(error_codec.error_to_proto(error))
    cancel(status.code.value[0], status.details)


def _cancel_with_status(context: grpc.ServicerContext) -> _Cancel | None:
    """What `cancel` calls, which has no word for the reason; None if this gRPC has it elsewhere."""
    try:
        found: _Cancel = attrgetter("_rpc_event.call.cancel")(context)
    except AttributeError:
        _tell_that_reasons_are_lost()
        return None
    return found


@cache
def _tell_that_reasons_are_lost() -> None:
    """Once, since it is so for every call."""
    log.warning(
        "grpcio %s takes no status for a call that is ended here: clients are told CANCELLED where "
        "it was late, or the server stops",
        grpc.__version__,
    )


def _going() -> ServiceUnavailable:
    return ServiceUnavailable("the server is stopping")
