"""One server: it listens from the first moment, answers health, and gets its services when their
models are loaded."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, cast

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ranksrgan.contracts.errors import AddressInUse, InvalidInput, ServiceUnavailable
from ranksrgan.contracts.serving.addresses import host_of
from ranksrgan.contracts.serving.admission import BESIDE, Admission
from ranksrgan.contracts.serving.answers import Answers
from ranksrgan.contracts.serving.calls import Calls, Watcher
from ranksrgan.contracts.serving.client_limits import ClientLimiter
from ranksrgan.contracts.serving.first_thread import FirstThread
from ranksrgan.contracts.serving.health_checks import HealthChecks
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer, Liveness
from ranksrgan.contracts.serving.limits import ServerLimits
from ranksrgan.contracts.serving.methods import service_of
from ranksrgan.contracts.serving.observer import Observer, Observers
from ranksrgan.contracts.serving.precedence import answer_alone
from ranksrgan.contracts.serving.readiness import Readiness
from ranksrgan.contracts.serving.request_log import logged
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.shared_tensors import SharedTensors
from ranksrgan.contracts.serving.socket_file import SocketFile
from ranksrgan.contracts.serving.standard_services import REFLECTIONS, StandardServices
from ranksrgan.contracts.serving.token_file import TokenFile
from ranksrgan.contracts.serving.waits import Waits
from ranksrgan.contracts.serving.well_formed import WellFormed

log = logging.getLogger(__name__)

# Threads beyond those that work or wait, so that a refusal always finds one.
_SPARE_THREADS = 4
# Seconds that answers of calls that have ended may take to leave the process.
_FLUSH = 2.0


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


@dataclass(frozen=True)
class Services:
    """What a server serves, ready to work.

    Attributes:
        servicers: the services.
        background: is started before the first request and stopped with the server.
    """

    servicers: Sequence[Servicer]
    background: Background | None = None


class RunningServer:
    """A server that listens; ``address`` is the bound one, port 0 resolved.

    Args:
        settings: see there; `ServerSettings.check` has been happy with them.
        limits: what to take on.
        names: full names of the services that `offer` will bring.
        observers: are told what happens.
        first_thread: works for the CPU, if the caller lends it to the server.

    Raises:
        AddressInUse: somebody listens there already.
        InvalidInput: nobody can listen there.
        InvalidConfig: see `ServerSettings.check`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        limits: ServerLimits,
        names: Sequence[str],
        observers: Sequence[Observer] = (),
        first_thread: FirstThread | None = None,
    ) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._background: Background | None = None
        self._waits = Waits()
        self._checks = HealthChecks(self._waits)
        self._readiness = Readiness(names, self._checks)
        self._closing = ExitStack()
        #: Of the page for Prometheus, if there is one.
        self.metrics_address: str | None = None
        with ExitStack() as failing:
            failing.enter_context(self._closing)
            socket_file = self._socket_file(settings.listen)
            watchers: list[Watcher] = [logged, *self._tracing(settings)]
            told = [*observers, *self._metrics(settings)]
            #: All that are told what happens; for what loads models.
            self.observers = Observers(told)
            self._admission = Admission(limits, set(names), self._waits, told, first_thread)
            answers = Answers(limits, self._waits)
            calls = Calls(
                set(names),
                self._readiness,
                None if settings.tokens is None else TokenFile(settings.tokens),
                ClientLimiter(settings.client_limits, answers.left_lying),
                watchers,
                self.observers,
                settings.administrators,
            )
            shared = SharedTensors(set(names), limits.max_message_bytes)
            standard = StandardServices(self._waits)
            around = [calls, answers, standard, WellFormed(), self._admission, shared]
            self._server = _grpc_server(limits, around)
            self._late = _LateHandlers(set(names))
            handlers: list[grpc.GenericRpcHandler] = [self._late]
            if InferenceServicer.full_name in names:
                handlers.insert(0, Liveness(lambda: self._readiness.is_ready))
            self._server.add_generic_rpc_handlers(handlers)
            health_pb2_grpc.add_HealthServicer_to_server(self._checks, self._server)
            if settings.reflection:
                shown = [*names, health.SERVICE_NAME, reflection.SERVICE_NAME]
                reflection.enable_server_reflection(shown, self._server)
            self.address = _listen(self._server, settings, socket_file)
            self._server.start()
            failing.pop_all()

    def offer(self, services: Services) -> None:
        """Serve; what ``services.background.start`` raises is raised. Nothing after `stop`."""
        with self._lock:
            if self._stopped:
                return
            for servicer in services.servicers:
                servicer.add_to(cast(grpc.Server, self._late))
            if services.background is not None:
                services.background.start()
                self._background = services.background
            self._readiness.ready()

    def stop(self, grace: float = 0.0) -> None:
        """Report NOT_SERVING, refuse new calls, give those in flight ``grace`` seconds.

        Health answers meanwhile. A call whose request is not there yet was not accepted, and ends.
        A stream, which may be endless, ends after what it has begun; an idle one at once.
        """
        end = time.monotonic() + grace
        self._readiness.drain()
        self._admission.stop()
        self._waits.stop()
        with self._lock:
            self._stopped = True
        with ExitStack() as closing:  # to its end, whatever goes wrong on the way
            closing.enter_context(self._closing)
            closing.callback(self._waits.close)
            closing.callback(self._admission.close)
            closing.callback(self._stop_calls, end, grace)
            if self._background is not None:
                self._background.stop(grace)

    def _stop_calls(self, end: float, grace: float) -> None:
        idle = self._readiness.wait_idle(max(0.0, end - time.monotonic()))
        if not idle and grace > 0:
            log.warning("calls that are still open after %g s are broken off", grace)
        self._checks.close()
        self._server.stop(_FLUSH if idle else 0.0).wait()

    def _socket_file(self, address: str) -> SocketFile | None:
        if not address.startswith("unix:"):
            _require_free(address)
            return None
        file = SocketFile(address)
        file.require_free()
        self._closing.callback(file.remove)
        return file

    def _tracing(self, settings: ServerSettings) -> list[Watcher]:
        if not settings.traces:
            return []
        from ranksrgan.contracts.serving.tracing import Tracing, otlp_provider

        tracing = Tracing(otlp_provider())
        self._closing.callback(tracing.close)
        return [tracing]

    def _metrics(self, settings: ServerSettings) -> list[Observer]:
        if settings.metrics is None:
            return []
        from ranksrgan.contracts.serving.prometheus import MetricsPage, PrometheusObserver

        observer = PrometheusObserver()
        page = MetricsPage(settings.metrics, observer)
        self._closing.callback(page.close)
        self.metrics_address = page.address
        return [observer]


class _LateHandlers(grpc.GenericRpcHandler):
    """Stands where a `grpc.Server` would for servicers that come after the server has begun."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self._handlers: tuple[grpc.GenericRpcHandler, ...] = ()

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._handlers = (*self._handlers, *handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """The generic ones are the same."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        for handler in self._handlers:
            found = handler.service(handler_call_details)
            if found is not None:
                return found
        name = service_of(handler_call_details.method)
        if name in self._names and not self._handlers:
            return grpc.stream_stream_rpc_method_handler(_not_yet)
        return None


def _not_yet(requests: object, context: grpc.ServicerContext) -> Any:
    raise ServiceUnavailable("the server is still loading; try again in a moment")


def _grpc_server(limits: ServerLimits, interceptors: list[grpc.ServerInterceptor]) -> grpc.Server:
    return grpc.server(
        ThreadPoolExecutor(_threads(limits), "rpc", initializer=answer_alone),
        interceptors=interceptors,
        options=[
            *_connection_age(limits.connection_age),
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limits.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            # Streams count until the last of their memory is freed. Beyond this number gRPC resets
            # them, which says nothing to their clients; long before we refuse, and say why.
            ("grpc.max_concurrent_streams", 16 * limits.calls),
            # Without a ping, a client whose machine has gone would hold its stream for ever.
            ("grpc.keepalive_time_ms", 60_000),
        ],
    )


def _connection_age(seconds: float | None) -> list[tuple[str, int]]:
    """For calls that outlast it gRPC's own limit holds, which is none."""
    return [] if seconds is None else [("grpc.max_connection_age_ms", int(1000 * seconds))]


def _threads(limits: ServerLimits) -> int:
    """Those that answer, at most: one for each call that may be open, since a wait is one too."""
    slow = limits.workers + limits.queue  # requests on their way, see `Tickets`
    return limits.calls + slow + BESIDE + REFLECTIONS + _SPARE_THREADS


def _listen(server: grpc.Server, settings: ServerSettings, socket_file: SocketFile | None) -> str:
    address = settings.listen if socket_file is None else socket_file.first_address
    try:
        if settings.tls is None:
            port = server.add_insecure_port(address)
        else:
            from ranksrgan.contracts.serving.certificate_files import CertificateFiles

            port = server.add_secure_port(address, CertificateFiles(settings.tls).credentials())
    except RuntimeError as error:
        listen = settings.listen
        raise AddressInUse(f"cannot listen on {listen}: {error}", field=listen) from error
    if socket_file is not None:
        socket_file.publish()
        return settings.listen
    return f"{address.rpartition(':')[0]}:{port}"


def _require_free(address: str) -> None:
    """gRPC says only that it failed; we ask first."""
    host, port = host_of(address), address.rpartition(":")[2]
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)  # Linux binds one port twice, but listens on it once
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise AddressInUse(f"a server listens on {address} already", field=address) from error
        why = getattr(error, "strerror", None) or error
        raise InvalidInput(f"cannot listen on {address}: {why}", field=address) from error
