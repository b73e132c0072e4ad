"""The log of a server: one event a line, as JSON or as text, with the request's id.

Every call ends with a line of the logger ``ranksrgan.access``: method, code, seconds, client and
model. Nothing of a request's content and no token is ever logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from ranksrgan.contracts.serving.calls import CURRENT, Call

access = logging.getLogger("ranksrgan.access")

# Codes that are the server's fault, or that an operator should see at least.
_FAILURES = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})


@contextmanager
def logged(call: Call) -> Iterator[None]:
    """Log the call when it has ended."""
    try:
        yield
    finally:
        level = logging.ERROR if call.code in _FAILURES else logging.INFO
        facts = {
            "method": call.method,
            "code": call.code,
            "seconds": round(call.seconds, 6),
            "client": call.client,
            "model": call.model,
        }
        access.log(
            level,
            "%s %s %.3f s client=%s model=%s",
            _quoted(call.method),
            call.code,
            call.seconds,
            _quoted(call.client),
            _quoted(call.model),
            extra={"facts": facts},
        )


def log_to_stderr(form: Literal["json", "text"]) -> None:
    """Have everything of INFO and above written to standard error in that form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """``{"time": ..., "level": ..., "logger": ..., "message": ..., "request_id": ...}``, with the
    facts of an access line beside, and a traceback as ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC)
        event: dict[str, object] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        call = CURRENT.get()
        if call is not None:
            event["request_id"] = call.request_id
        event.update(getattr(record, "facts", {}))
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``LEVEL logger: message [request id]``, the form of every command of ours."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        call = CURRENT.get()
        line = super().formatMessage(record)
        return line if call is None else f"{line} [{call.request_id}]"


def _quoted(text: str) -> str:
    """What a client chose, on one line and in one piece."""
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
