"""What clients that say nothing, or do not read, get of a server for one page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.request import urlopen

import pytest

from ranksrgan.contracts.serving import page_server
from ranksrgan.contracts.serving.page_server import PLACES, PageServer

# More than the system keeps between two that do not read.
PAGE = b"page " * 2**22
CLOSED_WITHIN = 20.0


def page(environ: object, start_response: object) -> Iterable[bytes]:
    assert callable(start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [PAGE]


@contextmanager
def serving() -> Iterator[int]:
    server = PageServer("127.0.0.1", 0, page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def port() -> Iterator[int]:
    with serving() as port:
        yield port


def connect(port: int) -> socket.socket:
    """One that the system does not have to try a second time, which takes it a second."""
    return socket.create_connection(("127.0.0.1", port), timeout=0.9)


def answering() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def wait_for_none() -> None:
    end = time.monotonic() + CLOSED_WITHIN
    while answering():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_client_that_says_nothing_is_left(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "_LONGEST", 0.2)
    with connect(port) as idle:
        idle.settimeout(CLOSED_WITHIN)
        began = time.monotonic()
        assert idle.recv(1) == b""
        assert time.monotonic() - began > 0.1


def test_a_client_that_never_comes_to_an_end_is_left(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "_LONGEST", 0.2)

    def go_on(client: socket.socket) -> None:
        end = time.monotonic() + CLOSED_WITHIN
        while time.monotonic() < end:
            client.sendall(b"G")
            time.sleep(0.02)

    with connect(port) as slow, pytest.raises(OSError, match=r"reset|Broken"):
        go_on(slow)


def test_a_client_that_does_not_read_is_left(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "_LONGEST", 0.2)
    with connect(port) as deaf:
        deaf.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert deaf.recv(4) == b"HTTP"
        wait_for_none()


def test_many_idle_clients_do_not_keep_another_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "_SHORTEST", 0.1)
    with ExitStack() as idle:
        for _ in range(5 * PLACES):
            idle.enter_context(connect(port))
        began = time.monotonic()
        with urlopen(f"http://127.0.0.1:{port}/", timeout=CLOSED_WITHIN) as answer:
            assert answering() <= PLACES
            assert answer.read() == PAGE
        assert time.monotonic() - began < 5  # 0.4 s, on a machine that does nothing else


def test_a_client_among_few_is_not_hurried(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_server, "_SHORTEST", 0.0)
    with ExitStack() as clients:
        first, *_ = [clients.enter_context(connect(port)) for _ in range(PLACES)]
        first.settimeout(CLOSED_WITHIN)
        time.sleep(0.2)
        first.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert first.recv(4) == b"HTTP"


def test_what_is_open_ends_with_the_server() -> None:
    with ExitStack() as clients:
        with serving() as port:
            idle = clients.enter_context(connect(port))
            while not answering():
                time.sleep(0.01)
        idle.settimeout(CLOSED_WITHIN)
        assert idle.recv(1) == b""
        wait_for_none()
