"""OpenTelemetry: a span for every call, the child of the client's (``pip install
'packages/contracts[otel]'``).

Where spans go, and how this service is called there, say the variables that every such program
reads: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_SERVICE_NAME`` and so on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.contracts.serving.calls import Call

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

#: Seconds that a server which stops waits for its last spans to be taken.
LAST_SPANS = 2.0


def require_sdk() -> None:
    """Raise InvalidConfig unless the extra is installed."""
    # A package is imported to look into it, so from the outside inwards.
    wanted = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc")
    try:
        missing = [name for name in wanted if find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(wanted)
    if missing:
        raise InvalidConfig(
            "traces: needs OpenTelemetry: in the checkout, pip install 'packages/contracts[otel]'",
            field="traces",
        )


def otlp_provider() -> TracerProvider:
    """What sends spans as the ``OTEL_...`` variables say, in batches."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(shutdown_on_exit=False)  # `Tracing.close` does, and does not wait
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """`Watcher` that makes the spans.

    Args:
        provider: where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("ranksrgan")

    @contextmanager
    def __call__(self, call: Call) -> Iterator[None]:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        service, _, method = call.method.strip("/").partition("/")
        with self._tracer.start_as_current_span(
            f"{service}/{method}",
            context=extract(dict(call.metadata)),
            kind=SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "ranksrgan.request_id": call.request_id,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.set_attribute("rpc.response.status_code", call.code)
                span.set_attribute("ranksrgan.model", call.model)
                if call.code in ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    span.set_status(Status(StatusCode.ERROR, call.code))

    def close(self) -> None:
        """Send what has not been sent yet; what is not taken in `LAST_SPANS` seconds is lost."""
        sending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(LAST_SPANS)
        if sending.is_alive():
            log.warning(
                "traces: the last spans were not taken within %.0f s and are lost", LAST_SPANS
            )
