"""Spans of real calls, kept by the SDK's exporter in memory."""

from __future__ import annotations

import threading
import time

import pytest
import torch

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.rpc import open_channel, start_server
from ranksrgan.contracts.serving import tracing
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.v1 import scoring_pb2, scoring_pb2_grpc
from tests.contracts.conftest import Broken, Catalog, Contrast, in_background

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Exporter(InMemorySpanExporter):
    def __init__(self) -> None:
        super().__init__()
        self._arrived = threading.Condition()

    def export(self, spans: object) -> object:
        with self._arrived:
            result = super().export(spans)
            self._arrived.notify_all()
        return result

    def first(self, count: int) -> list[ReadableSpan]:
        """The first spans, which may be there after the answers."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.get_finished_spans()) >= count, 60)
        return list(self.get_finished_spans())


def test_a_call_is_a_span_below_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "otlp_provider", lambda: provider)
    monkeypatch.setattr(tracing, "require_sdk", lambda: None)
    catalog = Catalog(contrast=Contrast(), broken=Broken())
    settings = ServerSettings(listen="127.0.0.1:0", traces=True)
    server = start_server(settings, [ScoringServicer(catalog)])
    try:
        with open_channel(server.address) as channel:
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)
            stub.ListScorers(
                scoring_pb2.ListScorersRequest(),
                timeout=60,
                metadata=[("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-request-id", "mine")],
            )
            (span,) = exporter.first(1)
            list(stub.ScoreStream(iter([scoring_pb2.ScoreStreamRequest(scorer="contrast")])))
            _, stream = exporter.first(2)
            from ranksrgan.contracts.client import connect_scorer

            broken = connect_scorer(server.address, "broken")
            thread, _ = in_background(lambda: broken.score(torch.rand(1, 3, 4, 4)))
            thread.join(60)
            *_, failed = exporter.first(4)
    finally:
        server.stop()
    assert span.name == "ranksrgan.contracts.v1.ScoringService/ListScorers"
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert (f"{span.context.trace_id:x}", f"{span.parent.span_id:x}") == (TRACE.lstrip("0"), PARENT)
    assert dict(span.attributes or {}) == {
        "rpc.system": "grpc",
        "rpc.service": "ranksrgan.contracts.v1.ScoringService",
        "rpc.method": "ListScorers",
        "rpc.response.status_code": "OK",
        "ranksrgan.request_id": "mine",
        "ranksrgan.model": "",
    }
    assert stream.parent is None
    assert stream.attributes is not None
    assert stream.attributes["ranksrgan.model"] == "contrast"
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes is not None
    assert failed.attributes["rpc.response.status_code"] == "INTERNAL"
    assert failed.events == ()  # nothing of the exception leaves


def test_a_server_that_stops_does_not_wait_for_a_collector_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(InMemorySpanExporter):
        def shutdown(self) -> None:
            silence.wait(60)

    silence = threading.Event()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Silent()))
    monkeypatch.setattr(tracing, "LAST_SPANS", 0.05)
    began = time.monotonic()
    tracing.Tracing(provider).close()
    assert time.monotonic() - began < 30
    assert "the last spans were not taken" in caplog.text
    silence.set()


def test_traces_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(InvalidConfig, match=r"pip install 'packages/contracts\[otel\]'"):
        ServerSettings(listen="unix:s", traces=True).check()
