"""The one way to run a service and to reach one.

Addresses are ``HOST:PORT`` or ``unix:PATH``, and ``grpcs://HOST:PORT`` to reach a server over TLS.
A server refuses a taken port instead of sharing it, answers health checks while it loads and works,
bounds what waits, maps errors by one table, and drains on SIGTERM.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ranksrgan.contracts import heaps
from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.serving.addresses import is_local
from ranksrgan.contracts.serving.channel import open_channel
from ranksrgan.contracts.serving.first_thread import FirstThread
from ranksrgan.contracts.serving.health_probe import (
    check_health,
    health_problem,
    wait_until_healthy,
)
from ranksrgan.contracts.serving.limits import ServerLimits
from ranksrgan.contracts.serving.observer import Observer, Observers
from ranksrgan.contracts.serving.precedence import share_interpreter
from ranksrgan.contracts.serving.readiness import notify, watchdog_seconds
from ranksrgan.contracts.serving.server import Background, RunningServer, Servicer, Services
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.serving.stop_signals import stop_signals

__all__ = [
    "Background",
    "RunningServer",
    "ServerLimits",
    "Servicer",
    "Services",
    "check_health",
    "health_problem",
    "open_channel",
    "serve",
    "start_server",
    "wait_until_healthy",
]

log = logging.getLogger(__name__)

# Seconds that a model gets for the operation at hand when all calls have ended.
_LAST_OPERATION = 2.0


def start_server(
    listen: str | ServerSettings,
    servicers: Sequence[Servicer],
    limits: ServerLimits | None = None,
    background: Background | None = None,
    observers: Sequence[Observer] = (),
) -> RunningServer:
    """Start serving and return at once.

    Args:
        listen: ``HOST:PORT`` (port 0 picks a free one) or ``unix:PATH``; or all settings.
        servicers: what to serve, beside health and reflection.
        limits: what to take on; those of the settings without.
        background: is started before the first request and stopped with the server; what its start
            raises is raised.
        observers: are told what happens.

    Raises:
        AddressInUse: somebody listens there already.
        InvalidInput: not an address.
    """
    settings = (
        make_config(ServerSettings, {"listen": listen}, "address")
        if isinstance(listen, str)
        else listen
    )
    names = [servicer.full_name for servicer in servicers]
    server = RunningServer(settings, limits or ServerLimits.of(settings), names, observers)
    try:
        server.offer(Services(servicers, background))
    except BaseException:
        server.stop()
        raise
    return server


def serve(
    settings: ServerSettings,
    names: Sequence[str],
    load: Callable[[Observers], Services],
    observers: Sequence[Observer] = (),
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal stops at once.

    The server listens and answers health while ``load`` works. The calling thread, which has to be
    the first of the process, computes for the CPU and stays behind others in priority. Work that
    does not end in time, such as one long operation, ends with the process.

    Args:
        settings: of the server.
        names: full names of the services that ``load`` brings.
        load: opens the models, in a thread of its own, and tells the observers of each; what it
            raises is raised.
        observers: are told what happens.

    Returns:
        The exit code, 0.

    Raises:
        InvalidConfig: see `ServerSettings.check`.
        AddressInUse: somebody listens there already.
    """
    settings.check()
    heaps.keep_for_a_server()
    share_interpreter()
    failures: list[BaseException] = []
    with stop_signals() as stopping:
        first_thread = FirstThread()
        server = RunningServer(settings, ServerLimits.of(settings), names, observers, first_thread)

        def load_and_offer() -> None:
            try:
                server.offer(load(server.observers))
                heaps.give_back()  # what loading took
            except BaseException as error:
                failures.append(error)
                stopping.set()
            else:
                log.info("ready")
                notify("READY=1")

        _say_what_is_open(settings, names)
        log.info("listening on %s: %s", server.address, ", ".join(names))
        if server.metrics_address is not None:
            log.info("metrics at http://%s/metrics", server.metrics_address)
        threading.Thread(target=load_and_offer, name="loading", daemon=True).start()

        def watch_and_stop() -> None:
            while not stopping.wait(watchdog_seconds()):
                notify("WATCHDOG=1")
            notify("STOPPING=1")
            if not failures:
                log.info("stopping; requests in flight have %g s", settings.grace)
            try:
                server.stop(0.0 if failures else settings.grace)
            finally:
                first_thread.end()
                if not first_thread.ended.wait(_LAST_OPERATION):
                    log.warning("a model is still at work; the process ends without it")
                    logging.shutdown()
                    os._exit(int(bool(failures)))

        with ThreadPoolExecutor(1, "stopping") as watching:
            watched = watching.submit(watch_and_stop)
            try:
                first_thread.work()
            finally:  # whatever it has come to: nothing would be computed any more
                stopping.set()
            watched.result()
    if failures:
        raise failures[0]
    return 0


def _say_what_is_open(settings: ServerSettings, names: Sequence[str]) -> None:
    if settings.tls is not None:
        from ranksrgan.contracts.serving.certificate_files import warn_if_it_expires_soon

        warn_if_it_expires_soon(settings.tls)
    if settings.metrics is not None and not is_local(settings.metrics):
        log.warning("OPEN: whoever reaches %s reads the metrics", settings.metrics)
    if is_local(settings.listen):
        return
    known = settings.tokens is not None or (
        settings.tls is not None and settings.tls.client_ca is not None
    )
    services = ", ".join(names)
    if not known:
        log.warning(
            "OPEN: whoever reaches %s may call %s: there are no tokens (tokens: FILE) and no "
            "clients' certificates (tls.client_ca: FILE)",
            settings.listen,
            services,
        )
    if settings.tls is None:
        log.warning(
            "OPEN: what is sent to and from %s (%s%s) crosses the network without encryption "
            "(tls.certificate, tls.key)",
            settings.listen,
            services,
            ", tokens too" if settings.tokens is not None else "",
        )
