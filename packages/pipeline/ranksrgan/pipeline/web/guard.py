"""What holds for every request: who may ask, and what the browser may do with the answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranksrgan.contracts.errors import InvalidInput, Overloaded
from ranksrgan.pipeline.web.replies import (
    UploadTooLarge,
    UploadTooSlow,
    describe_error,
    http_status,
    reply,
)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: For the body of a request, a vote say, that one packet holds.
BODY_SECONDS = 10.0

# Everything comes from this server: no inline script or style, no frame, no other site.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: known hosts only, changes from our own pages only, strict headers.

    Another site can make a browser send requests here. One that changes something is refused unless
    the browser says that our page sent it; programs other than browsers send no such header and are
    not concerned. A name of the attacker's that leads here (DNS rebinding) is not a known host.

    Args:
        app: what to guard.
        hosts: names by which this server is reached, without port.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        else:
            answer = reply({"error": describe_error(refusal)}, 403)
            await answer(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> InvalidInput | None:
        host = headers.get("host", "")
        if _host_name(host) not in self._hosts:
            return InvalidInput(
                f"this server is not known as {host[:100]!r}; --allow-host makes it so",
                field="Host",
            )
        if method in _READING:
            return None
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return InvalidInput("only pages of this server may change something", field="Origin")
        return None


class AtMost:
    """ASGI middleware: so many requests at a time, and further ones are told to come again.

    Args:
        app: what works on them.
        requests: how many.
        each: how many of one address, so that nobody takes all; by default there is no such limit.
    """

    def __init__(self, app: ASGIApp, requests: int, each: int | None = None) -> None:
        self._app, self._most, self._each = app, requests, each or requests
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A proxy's X-Forwarded-For is in it already, if the proxy is on this machine.
        address = (scope.get("client") or ("", 0))[0]
        full = self._under_way.total() >= self._most
        if full or self._under_way[address] >= self._each:
            many = f"{self._most} requests" if full else f"{self._each} requests of your address"
            error = Overloaded(f"{many} are worked on; try again in a moment")
            await reply({"error": describe_error(error)}, http_status(error))(scope, receive, send)
            return
        self._under_way[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[address] -= 1
            if not self._under_way[address]:
                del self._under_way[address]


async def read_body(request: Request, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """The body of a request.

    Raises:
        UploadTooLarge: it is longer than ``limit`` bytes; no more than that is read.
        UploadTooSlow: it has not come within ``seconds``. Until then it takes one of the places of
            `AtMost`, so that a few who send nothing would keep out everyone.
    """
    most = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit} bytes"
    refusal = UploadTooLarge(
        f"what was sent is larger than {most}, the most that is taken", field="body"
    )
    stated = request.headers.get("content-length", "0")
    if not stated.isdigit() or int(stated) > limit:
        raise refusal
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                if len(body) + len(part) > limit:
                    raise refusal
                body += part
    except TimeoutError as error:
        raise UploadTooSlow(
            f"the request's body has not come within {seconds:g} s: {len(body)} bytes are here; "
            "send it again, over a faster connection if it is large",
            field="body",
        ) from error
    return bytes(body)


def _host_name(host: str) -> str:
    """``[::1]:8080`` and ``localhost:8080`` without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
