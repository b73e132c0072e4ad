"""The one way to run a service and to reach one.

Addresses are ``HOST:PORT`` or ``unix:PATH``. A server refuses a taken port instead of sharing it,
answers health checks while it works, bounds what waits, maps errors by one table, and drains on
SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from ranksrgan.contracts import cancellation, codec
from ranksrgan.contracts.errors import (
    AddressInUse,
    InternalError,
    InvalidInput,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
)

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]

# What a client accepts in one answer: an upscaled image is many times the request.
_MAX_ANSWER_BYTES = 2**30
# Threads beyond those that work or wait, so that health and reflection always find one.
_SPARE_THREADS = 4
# Methods that only wait for something; a place to work in is not for them.
_WAITING = frozenset({"/google.longrunning.Operations/WaitOperation"})


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes on.

    Attributes:
        workers: requests worked on at a time.
        queue: requests that may wait for a worker; the next one is refused with `Overloaded`.
        streams: streams that may be open beside those, idle or not; likewise. Each of their
            responses waits for a worker, and the client meanwhile.
        waiters: calls that may be waiting for the end of a long job beside those; likewise.
        max_message_bytes: of a request, or of one request of a stream.
        grace: seconds that requests in flight get to finish after SIGTERM. A stream that waits for
            its client is in flight.
    """

    workers: int = 2
    queue: int = 16
    streams: int = 16
    waiters: int = 32
    max_message_bytes: int = 64 * 2**20
    grace: float = 30.0

    @property
    def calls(self) -> int:
        """How many calls may be open at a time."""
        return self.workers + self.queue + self.streams + self.waiters


class Servicer(Protocol):
    """A service that can be added to a server."""

    @property
    def full_name(self) -> str: ...

    def add_to(self, server: grpc.Server) -> None: ...


class Background(Protocol):
    """What works as long as a server serves: the supervisor of its long jobs."""

    def start(self) -> None: ...

    def stop(self, grace: float) -> None:
        """Stop within about ``grace`` seconds, while the server drains."""
        ...


class RunningServer:
    """A server that listens; ``address`` is the bound one, port 0 resolved."""

    def __init__(
        self,
        server: grpc.Server,
        checks: health.HealthServicer,
        admission: _Admission,
        background: Background | None,
        address: str,
    ) -> None:
        self._server = server
        self._checks = checks
        self._admission = admission
        self._background = background
        self.address = address

    def stop(self, grace: float = 0.0) -> None:
        """Report NOT_SERVING, take no new request, give those in flight ``grace`` seconds.

        A stream of responses to one request, which may be endless, ends after the one at hand.
        """
        self._checks.enter_graceful_shutdown()
        self._admission.stopping.set()
        drained = self._server.stop(grace)
        if self._background is not None:
            self._background.stop(grace)
        drained.wait()
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)


def start_server(
    address: str,
    servicers: Sequence[Servicer],
    limits: ServerLimits | None = None,
    background: Background | None = None,
) -> RunningServer:
    """Start serving and return at once.

    Args:
        address: ``HOST:PORT`` (port 0 picks a free one) or ``unix:PATH``.
        servicers: what to serve, beside health and reflection.
        limits: what to take on.
        background: is started before the first request and stopped with the server; what its start
            raises is raised.

    Raises:
        AddressInUse: somebody listens there already.
        InvalidInput: not an address.
    """
    limits = limits or ServerLimits()
    _require_free(address)
    admission = _Admission(limits, {servicer.full_name for servicer in servicers})
    server = grpc.server(
        ThreadPoolExecutor(max_workers=limits.calls + _SPARE_THREADS, thread_name_prefix="rpc"),
        interceptors=[admission],
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", 4 * limits.calls),
            # Without a ping, a client whose machine has gone would hold its stream for ever.
            ("grpc.keepalive_time_ms", 60_000),
        ],
    )
    checks = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for servicer in servicers:
        servicer.add_to(server)
    names = [servicer.full_name for servicer in servicers]
    reflection.enable_server_reflection(
        [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise AddressInUse(f"cannot listen on {address}: {error}", field=address) from error
    if background is not None:
        background.start()
    server.start()
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).chmod(stat.S_IRUSR | stat.S_IWUSR)
        bound = address
    else:
        bound = f"{address.rpartition(':')[0]}:{port}"
    for name in ("", *names):
        checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RunningServer(server, checks, admission, background, bound)


def serve(
    address: str,
    servicers: Sequence[Servicer],
    limits: ServerLimits | None = None,
    background: Background | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once.

    Args:
        address, servicers, limits, background: see `start_server`.

    Returns:
        The exit code, 0.
    """
    limits = limits or ServerLimits()
    server = start_server(address, servicers, limits, background)
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    host = address.rpartition(":")[0]
    if not address.startswith("unix:") and host not in ("127.0.0.1", "localhost", "[::1]"):
        log.warning("listening on %s, not only on loopback, without encryption or login", host)
    names = ", ".join(servicer.full_name for servicer in servicers)
    log.info("listening on %s: %s", server.address, names)
    stopping.wait()
    log.info("stopping; requests in flight have %g s", limits.grace)
    server.stop(limits.grace)
    return 0


def open_channel(address: str) -> grpc.Channel:
    """A channel to ``HOST:PORT`` or ``unix:PATH``; connects when it is first used."""
    return grpc.insecure_channel(
        address,
        options=[
            ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # What one attempt to connect may take, whatever its name says: a busy server needs it.
            ("grpc.min_reconnect_backoff_ms", 20_000),
            # A service that restarts should be found again within a second, not within two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )


def check_health(address: str, service: str = "", *, timeout: float = 2.0) -> bool:
    """Whether the server at ``address`` says that it serves ``service`` ("" for the process)."""
    with open_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(service=service), timeout=timeout
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _require_free(address: str) -> None:
    """gRPC replaces a unix socket that another server listens on without a word; we ask first."""
    if not address.startswith("unix:"):
        host, separator, port = address.rpartition(":")
        if not separator or not host or not port.isdigit():
            raise InvalidInput(f"{address!r}: listen on HOST:PORT or unix:PATH", field=address)
        return
    path = Path(address.removeprefix("unix:"))
    if not path.parent.is_dir():
        raise InvalidInput(f"{path.parent} is not a folder to put a socket in", field=address)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise InvalidInput(f"{path} is no socket of ours: {error}", field=address) from error
    raise AddressInUse(f"a server listens on {address} already", field=address)


class _Admission(grpc.ServerInterceptor):
    """Around every call of our services: a place to work in, cancellation, and errors by table."""

    def __init__(self, limits: ServerLimits, services: set[str]) -> None:
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
            admit = self._waiter if method in _WAITING else self._worker
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


def wait_until_healthy(address: str, *, timeout: float = 60.0) -> bool:
    """Wait until the server at ``address`` answers that it serves; False if it does not in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if check_health(address):
            return True
        time.sleep(0.1)
    return False
