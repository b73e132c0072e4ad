"""The web application, and how it is served."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ranksrgan.contracts.errors import AddressInUse, InvalidInput, RankSRGANError
from ranksrgan.pipeline.web.comparison_api import ComparisonApi
from ranksrgan.pipeline.web.comparisons import Comparisons, Limits
from ranksrgan.pipeline.web.connection import Connection
from ranksrgan.pipeline.web.guard import LOOPBACK, AtMost, Guard
from ranksrgan.pipeline.web.replies import (
    reply_to_error,
    reply_to_failure,
    reply_to_http_error,
    reply_to_nobody,
)
from ranksrgan.pipeline.web.services import Role, Services
from ranksrgan.pipeline.web.study import Study, open_study
from ranksrgan.pipeline.web.study_api import StudyApi
from ranksrgan.pipeline.web.vote_book import VoteBook

log = logging.getLogger(__name__)

_PAGES = Path(__file__).parent / "pages"

# Requests worked on at a time; a page asks for a handful. Connections are more: browsers keep some
# open for what may come, and each is a file of this process, of which there often may be 1024.
_CONCURRENT, _CONNECTIONS = 100, 800


def make_app(
    services: Mapping[Role, str],
    studies: Mapping[str, Study],
    book: VoteBook | None,
    *,
    hosts: Sequence[str] = (),
    limits: Limits | None = None,
) -> Starlette:
    """The application.

    Args:
        services: addresses, ``grpc://HOST:PORT`` or ``unix:///PATH.sock``.
        studies: by name.
        book: holds their votes; may be None if there are no studies.
        hosts: names by which the server is reached, beside those of loopback.
        limits: of comparisons.
    """
    limits = limits or Limits()
    known = Services(services)
    folder = tempfile.TemporaryDirectory(prefix="ranksrgan-web-")
    comparisons = Comparisons(known, Path(folder.name), limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await run_in_threadpool(comparisons.close)
            folder.cleanup()

    return Starlette(
        routes=[
            Route("/", _page("compare.html")),
            Route("/study", _page("studies.html")),
            Route("/study/{study}", _page("study.html")),
            Route("/study/{study}/results", _page("results.html")),
            Mount("/pages", StaticFiles(directory=_PAGES)),
            *ComparisonApi(known, comparisons, limits).routes(),
            *StudyApi(studies, book).routes(),
        ],
        middleware=[
            Middleware(Guard, hosts={*LOOPBACK, *hosts}),
            Middleware(AtMost, requests=_CONCURRENT, each=_CONCURRENT // 2),
        ],
        exception_handlers={
            RankSRGANError: reply_to_error,
            HTTPException: reply_to_http_error,
            ClientDisconnect: reply_to_nobody,
            Exception: reply_to_failure,
        },
        lifespan=lifespan,
    )


def serve(
    listen: str,
    services: Mapping[Role, str],
    studies: Mapping[str, Path],
    votes: Path,
    *,
    hosts: Sequence[str],
    limits: Limits,
) -> int:
    """Serve at ``HOST:PORT`` until SIGTERM or SIGINT.

    Args:
        listen: the address; on other than loopback a warning says that there is no login.
        services: addresses by role.
        studies: folders by name.
        votes: the file of their votes; not touched if there are no studies.
        hosts: further names by which the server is reached.
        limits: of comparisons.

    Raises:
        AddressInUse: somebody listens there already.
        InvalidInput: not an address, a wrong folder or name, or nothing to show.
        InvalidDataset: a study that contradicts itself, or something else instead of votes.
    """
    host, separator, port = listen.rpartition(":")
    host = host.strip("[]")
    if not (separator and host and port.isdigit() and int(port) < 2**16):
        raise InvalidInput(f"{listen!r}: listen on HOST:PORT", field="listen")
    if not services and not studies:
        raise InvalidInput("name a service (--metrics, --srgan, --ranker) or a --study")
    opened = {name: open_study(name, folder) for name, folder in studies.items()}
    book = VoteBook(votes) if opened else None
    if host not in LOOPBACK:
        log.warning("listening on %s, not only on loopback: whoever reaches it may use it", host)
    for study in opened.values():
        log.info("study %s: %d contents, %d pairs", study.name, len(study.images), len(study.pairs))
    with _listen(host, int(port)) as listening:
        config = uvicorn.Config(
            make_app(services, opened, book, hosts=[host, *hosts], limits=limits),
            http=Connection,
            limit_concurrency=_CONNECTIONS,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        bound = listening.getsockname()[1]
        log.info("the page is at http://%s:%d", listen.rpartition(":")[0], bound)
        # uvicorn ends what is under way, and then raises the signal that ended it once more.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
        uvicorn.Server(config).run([listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise InvalidInput(f"{host}: {error.strerror}", field="listen") from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise InvalidInput(f"{host}:{port}: {error.strerror}", field="listen") from error
        raise AddressInUse(f"somebody listens on {host}:{port} already", field="listen") from error


def _page(name: str) -> Callable[[Request], Response]:
    def show(request: Request) -> Response:
        return FileResponse(_PAGES / name, headers={"Cache-Control": "no-cache"})

    return show
