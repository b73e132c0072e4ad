"""What is around every call, outside of admission: who calls, whether they may, and who watches.

Health is for everybody and is not watched. All else wants a token where there are tokens, before a
byte of the request is read; our services have limits for each client, and refuse while they are not
ready or the server drains, but for what tells just that. A method that the server does not have is
refused here, so that its call is seen as all others are. Every call has a request id: the client's
``x-request-id`` if that is sane, else a new one. It comes back in the trailing metadata and stands
in every line of the log that the call's own thread writes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn, cast
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health
from grpc_status import rpc_status

from ranksrgan.contracts.errors import Forbidden, NotSupported, RankSRGANError, Unauthenticated
from ranksrgan.contracts.serving.call_threads import AT_ONCE, InPool, same_threads
from ranksrgan.contracts.serving.caller import CALLER, Caller
from ranksrgan.contracts.serving.client_limits import ClientLimiter
from ranksrgan.contracts.serving.methods import (
    ADMINISTRATIVE,
    LIVENESS,
    UNKNOWN_METHOD,
    service_of,
)
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.readiness import Readiness
from ranksrgan.contracts.serving.token_file import TokenFile
from ranksrgan.contracts.serving.turn import end_of
from ranksrgan.contracts.wire import error_codec

REQUEST_ID = "x-request-id"

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# Fields of our requests, and of the open inference protocol's, that name what is asked.
_MODEL_FIELDS = ("model", "scorer", "model_name")
# Of a client's certificate, the first that is there.
_CERTIFICATE_NAMES = ("x509_common_name", "x509_subject_alternative_name")
# Characters of what a client chose that are kept.
_LONGEST = 200


@dataclass
class Call:
    """One call, from its arrival to its end.

    Attributes:
        method: ``/ranksrgan.contracts.v1.ScoringService/Score``; the beginning of what the client
            called where there is no such method.
        request_id: the client's or ours.
        metadata: of the client, text only.
        client: the token's name, else the common name in the client's certificate, else its first
            alternative one, else the host.
        still_known: see `Caller`.
        model: that was asked for, as the client names it; empty where none was.
        code: name of the gRPC status, set at the end.
        seconds: that it took, set at the end.
    """

    method: str
    request_id: str
    metadata: Mapping[str, str]
    client: str = ""
    still_known: Callable[[], None] | None = None
    model: str = ""
    code: str = ""
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)


#: The call that this thread works for. gRPC gives every call a context of its own.
CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)

#: Is entered when a call arrives and left when its code and seconds are known.
Watcher = Callable[[Call], AbstractContextManager[None]]


class Calls(grpc.ServerInterceptor):
    """See the module's head; the outermost of a server's interceptors.

    Args:
        services: full names of ours, which have limits.
        readiness: of those.
        tokens: of those who may call; None where everybody may.
        limiter: of each client.
        watchers: of every call.
        observers: are told of calls that are refused here, as admission tells of the others.
        administrators: clients that may call what is for operators, none: all that may call; and
            that may end what other clients have begun.
    """

    def __init__(
        self,
        services: set[str],
        readiness: Readiness,
        tokens: TokenFile | None,
        limiter: ClientLimiter,
        watchers: Sequence[Watcher],
        observers: Observers,
        administrators: Sequence[str] = (),
    ) -> None:
        self._administrators = frozenset(administrators)
        self._services = services
        self._readiness = readiness
        self._tokens = tokens
        self._limiter = limiter
        self._watchers = watchers
        self._observers = observers

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        service = service_of(method)
        if service == health.SERVICE_NAME:
            return handler
        pairs = handler_call_details.invocation_metadata or ()
        metadata = {key: value for key, value in pairs if isinstance(value, str)}
        asked = metadata.get(REQUEST_ID, "")
        request_id = asked if _SANE_ID.fullmatch(asked) else os.urandom(16).hex()
        call = Call(method[:_LONGEST], request_id, metadata)
        counted_as = UNKNOWN_METHOD if handler is None else method
        if self._tokens is not None:
            try:
                call.client = self._tokens.name_of(metadata.get("authorization"))
            except Unauthenticated as error:
                return self._refusal(call, error, counted_as)
            call.still_known = partial(
                self._tokens.require_still, call.client, metadata["authorization"]
            )
        if handler is None:
            unknown = NotSupported(f"there is no method {call.method} here")
            return self._refusal(call, unknown, counted_as)
        return _surrounded(handler, call, lambda context: self._around(call, service, context))

    def _refusal(self, call: Call, error: RankSRGANError, counted_as: str) -> Any:
        """A handler that refuses, and does not wait for the request to do so."""

        def refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
            with self._watching(call, context):
                self._refuse(call, error, counted_as, context)

        return grpc.stream_unary_rpc_method_handler(InPool(refuse, AT_ONCE))

    @contextmanager
    def _around(self, call: Call, service: str, context: grpc.ServicerContext) -> Iterator[None]:
        with self._watching(call, context), ExitStack() as admitted:
            if service in self._services:
                try:
                    self._require_administrator(call)
                    if call.method not in LIVENESS:
                        admitted.enter_context(self._readiness.serving(service))
                    admitted.enter_context(self._limiter.admitted(call.client))
                except RankSRGANError as error:
                    self._refuse(call, error, call.method, context)
            yield

    def _require_administrator(self, call: Call) -> None:
        known = self._administrators
        if known and call.method in ADMINISTRATIVE and call.client not in known:
            raise Forbidden("this is for those who administer the server")

    @contextmanager
    def _watching(self, call: Call, context: grpc.ServicerContext) -> Iterator[None]:
        CURRENT.set(call)
        name = call.client or _certified(context)
        call.client = name or _host(context)
        CALLER.set(Caller(name, call.client in self._administrators, call.still_known))
        with ExitStack() as watching:
            for watcher in self._watchers:
                watching.enter_context(watcher(call))
            failed = True
            try:
                yield
                failed = False
            finally:
                call.code = _code(context, failed)
                call.seconds = time.monotonic() - call.began
                # An error has brought trailing metadata of its own.
                theirs = context.trailing_metadata() or ()
                context.set_trailing_metadata((*theirs, (REQUEST_ID, call.request_id)))

    def _refuse(
        self, call: Call, error: RankSRGANError, counted_as: str, context: grpc.ServicerContext
    ) -> NoReturn:
        self._observers.request(counted_as, error.status, time.monotonic() - call.began)
        context.abort_with_status(rpc_status.to_status(error_codec.error_to_proto(error)))
        raise error  # abort has raised already


def _surrounded(
    handler: Any,
    call: Call,
    around: Callable[[grpc.ServicerContext], AbstractContextManager[None]],
) -> Any:
    """A handler of the same kind whose work is done within ``around``, and whose stream of
    responses ends where the client is not known any more."""

    def noted(request: Any) -> Any:
        call.model = call.model or _model(request)
        return request

    def argument(request: Any) -> Any:
        return map(noted, request) if handler.request_streaming else noted(request)

    def one(request: Any, context: grpc.ServicerContext) -> Any:
        with around(context):
            return behaviour(argument(request), context)

    def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with around(context):
            responses = behaviour(argument(request), context)
            known = call.still_known
            yield from responses if known is None else _while_known(responses, known)

    behaviour, make = next(
        (found, make)
        for found, make in (
            (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
            (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        )
        if found is not None
    )
    surrounded = same_threads(many if handler.response_streaming else one, behaviour)
    return make(surrounded, handler.request_deserializer, handler.response_serializer)


def _while_known(
    responses: Generator[Any, None, None], still_known: Callable[[], None]
) -> Iterator[Any]:
    """The responses to a client whose token may be taken from it meanwhile.

    What makes them is told the error, since it counts calls and turns errors into statuses.
    """
    with closing(responses):
        for response in responses:
            try:
                still_known()
            except Unauthenticated as error:
                responses.throw(error)
                raise
            yield response


def _model(request: Any) -> str:
    for message in (request, getattr(request, "order", None)):  # UpscaleStream names it there
        for name in _MODEL_FIELDS:
            value = getattr(message, name, "")
            if isinstance(value, str) and value:
                return value[:_LONGEST]
    return ""


def _certified(context: grpc.ServicerContext) -> str | None:
    """The name in the client's certificate, if it had to show one; empty if that has none."""
    shown = cast(Mapping[str, Sequence[bytes]], context.auth_context())
    if "x509_pem_cert" not in shown:
        return None
    names = (name for kind in _CERTIFICATE_NAMES for name in shown.get(kind, ()))
    # A certificate without a common name has an empty one.
    return next((name.decode(errors="replace") for name in names if name), "")


def _host(context: grpc.ServicerContext) -> str:
    kind, _, rest = unquote(context.peer()).partition(":")
    return kind if kind == "unix" else rest.rpartition(":")[0].strip("[]")


def _code(context: grpc.ServicerContext, failed: bool) -> str:
    if not context.is_active():
        return end_of(context)
    code = context.code()  # type: ignore[attr-defined]
    if code is not None:
        return str(code.name)
    return "UNKNOWN" if failed else "OK"
