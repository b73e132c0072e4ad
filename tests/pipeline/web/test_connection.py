"""Who sends or takes nothing keeps out nobody: the application on real sockets."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from ranksrgan.pipeline.web import comparison_api
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.comparisons import Limits
from ranksrgan.pipeline.web.connection import Connection, Patience
from ranksrgan.pipeline.web.guard import read_body
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.vote_book import VoteBook
from tests.pipeline.web.conftest import PATIENCE, photograph

VOTES = "POST /api/studies/faces/votes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000\r\n\r\n"


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    """The port at which the application is served as `ranksrgan web` serves it."""
    config = uvicorn.Config(app, http=Connection, log_config=None, timeout_graceful_shutdown=5)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def sockets() -> Iterator[Callable[[int], socket.socket]]:
    """Makes connections to a port, which are closed in the end."""
    with ExitStack() as stack:

        def connect(port: int) -> socket.socket:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            return stack.enter_context(connection)

        yield connect


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(2**16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer_of(connection: socket.socket) -> bytes:
    """One answer of a known length."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(2**16)
        assert part, answer
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    while len(body) < int(length):
        part = connection.recv(2**16)
        assert part, body
        body += part
    return head + b"\r\n\r\n" + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def status_of(request: str | Request) -> int:
    try:
        with urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def upload(length: int) -> bytes:
    head = ["POST /api/comparisons?name=cat.png HTTP/1.1", "Host: localhost"]
    return "\r\n".join([*head, f"Content-Length: {length}", "", ""]).encode()


def trickle(connection: socket.socket) -> None:
    """Send a byte now and then until the other side has closed."""
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            connection.sendall(b"x")
            time.sleep(0.05)
    except OSError:
        return
    pytest.fail("the connection stays")


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_many_who_send_no_body_are_sent_away(
    sockets: Callable[[int], socket.socket],
    study: Study,
    book: VoteBook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_body, "__defaults__", (5.0,))
    with serving(make_app({}, {"faces": study}, book)) as port:
        silent = [sockets(port) for _ in range(50)]
        for connection in silent:
            connection.sendall(VOTES.encode() + b"{")
        url = f"http://127.0.0.1:{port}/api/studies"
        until(lambda: status_of(url) == 429)
        # Another address has places left; a proxy on this machine tells of it so.
        assert status_of(Request(url, headers={"X-Forwarded-For": "10.0.0.7"})) == 200
        answers = [rest(connection) for connection in silent]
        with urlopen(url, timeout=PATIENCE) as answer:
            assert json.load(answer)[0]["votes"] == 0
    assert {status(answer) for answer in answers} == {408}
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert (error["code"], error["field"]) == ("DEADLINE_EXCEEDED", "body")
    assert "has not come within 5 s: 1 bytes are here" in error["message"]


def test_bytes_that_trickle_buy_no_time(
    sockets: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison_api, "_UPLOAD_SECONDS", 0.5)
    with serving(make_app({}, {}, None)) as port:
        connection = sockets(port)
        connection.sendall(upload(4000))
        trickle(connection)


def test_uploads_are_refused_before_they_are_read(
    sockets: Callable[[int], socket.socket],
    study: Study,
    book: VoteBook,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app({}, {"faces": study}, book, limits=Limits(workers=1, queue=1))
    data = photograph(8, 8)
    with serving(app) as port:

        def answered(request: bytes) -> bytes:
            connection = sockets(port)
            connection.sendall(request)
            return answer_of(connection)

        coming = [sockets(port) for _ in range(2)]
        for connection in coming:
            connection.sendall(upload(len(data)) + data[:-1])
        # One more is refused when no more than its head has come.
        until(lambda: status(answered(upload(3) + b"GIF")) == 429)
        refused = answered(upload(30 * 2**20))
        assert status(refused) == 429
        assert b"2 comparisons are being made" in refused
        with urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=PATIENCE) as answer:
            assert json.load(answer)[0]["name"] == "faces"

        # The place of one who goes is free again, and so is that of one who sends no image.
        coming[0].close()
        until(lambda: status(answered(upload(3) + b"GIF")) == 400)
        assert status(answered(upload(3) + b"GIF")) == 400
        coming[1].sendall(data[-1:])
        assert status(answer_of(coming[1])) == 201
    assert not caplog.records  # one who goes is no incident


@pytest.mark.parametrize("begun", [b"", b"GET / HT"])
def test_a_head_that_does_not_come_ends_the_connection(
    sockets: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(Connection, "patience", Patience(head=0.5))
    with serving(make_app({}, {}, None)) as port:
        connection = sockets(port)
        connection.sendall(begun)
        assert rest(connection) == b""

        # One that asks now and then stays, however long that is.
        kept = sockets(port)
        for _ in range(4):
            kept.sendall(b"GET /api/studies HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status(answer_of(kept)) == 200
            time.sleep(0.3)


def test_a_head_that_trickles_ends_the_connection(
    sockets: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "patience", Patience(head=0.5, rest=0.5))
    with serving(make_app({}, {}, None)) as port:
        # The second is the rest of a body that is not read, after the answer.
        for begun in (b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n"):
            connection = sockets(port)
            connection.sendall(begun)
            trickle(connection)


class Long:
    """An application whose answer has some MiB, and that counts the answers that have ended."""

    parts = 512

    def __init__(self) -> None:
        self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(self.parts):
            await send({"type": "http.response.body", "body": bytes(2**15), "more_body": True})
        await send({"type": "http.response.body"})
        self.ended += 1


def test_an_answer_that_is_not_taken_is_given_up(
    sockets: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "patience", Patience(standstill=1.0, rate=2**20))
    app = Long()
    with serving(app) as port:
        idle = sockets(port)
        idle.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: app.ended == 1)

        # A trickle is less than the rate that is asked for.
        slow = sockets(port)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while app.ended == 1:
            assert slow.recv(2**10)
            time.sleep(0.02)
        assert len(rest(slow)) < 2**15 * app.parts / 2


def test_an_answer_that_is_taken_in_time_is_whole(
    sockets: Callable[[int], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "patience", Patience(standstill=1.5, rate=2**19))
    app = Long()
    with serving(app) as port:
        steady = sockets(port)
        steady.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        size = 0
        while part := steady.recv(2**18):  # pauses of more than the standstill, all together
            size += len(part)
            time.sleep(0.05)
    assert size > 2**15 * app.parts
    assert app.ended == 1
