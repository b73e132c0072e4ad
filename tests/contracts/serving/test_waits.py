"""Ends of waits, where gRPC does not do what it should."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from ranksrgan.contracts.errors import DeadlineExceeded
from ranksrgan.contracts.serving import waits
from ranksrgan.contracts.serving.waits import Waits
from tests.contracts.watcher import PATIENCE


class Context:
    """Of a call that cannot be told a reason, and perhaps not even be cancelled."""

    def __init__(self, *, cancels: bool, renamed: bool = False) -> None:
        self.ended = threading.Event()
        self._cancels = cancels
        name = "end" if renamed else "cancel"
        self._rpc_event = SimpleNamespace(call=SimpleNamespace(**{name: self._refuse}))

    def cancel(self) -> None:
        self.ended.set()
        if not self._cancels:
            raise RuntimeError("no way")

    def requests(self) -> Iterator[Any]:
        """Ends as those of gRPC do, with the call."""
        assert self.ended.wait(PATIENCE)
        raise grpc.RpcError
        yield

    def _refuse(self, code: int, details: str) -> None:
        raise TypeError(f"{code} {details}")


@pytest.mark.parametrize("cancels", [True, False])
def test_a_call_that_cannot_be_ended_is_logged_and_others_end(
    cancels: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.01)
    server_waits = Waits()
    for _ in range(2):  # the same thread ends the second one
        context: Any = Context(cancels=cancels)
        with pytest.raises(DeadlineExceeded, match="did not come within"):
            server_waits.first(context.requests(), context, 0.01)
    server_waits.close()
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    once = ["4 the request did not come within 0.01 s", *([] if cancels else ["no way"])]
    assert texts == once * 2


def test_a_grpc_that_takes_no_reason_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "_LOOK", 0.01)
    waits._tell_that_reasons_are_lost.cache_clear()
    server_waits = Waits()
    for _ in range(2):
        context: Any = Context(cancels=True, renamed=True)
        with pytest.raises(DeadlineExceeded, match="did not come within"):
            server_waits.first(context.requests(), context, 0.01)
    server_waits.close()
    waits._tell_that_reasons_are_lost.cache_clear()
    (record,) = caplog.records
    assert record.exc_info is None
    assert f"grpcio {grpc.__version__} takes no status" in record.getMessage()
