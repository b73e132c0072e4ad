"""What the server answers with: JSON, and errors by one table."""

from __future__ import annotations

import logging
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ranksrgan.contracts.errors import (
    DeadlineExceeded,
    DiskFull,
    ImageTooLarge,
    InternalError,
    LimitExceeded,
    MissingAsset,
    RankSRGANError,
)

log = logging.getLogger(__name__)

# HTTP's number for a gRPC status, as google.rpc.Code lists them.
_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "UNIMPLEMENTED": 501,
    "FAILED_PRECONDITION": 400,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "CANCELLED": 499,
    "ABORTED": 409,
    "INTERNAL": 500,
}


class UploadTooLarge(LimitExceeded):
    """More bytes than the server takes in one request; raised and answered here."""


class UploadTooSlow(DeadlineExceeded):
    """The body of a request did not come in time; raised and answered here."""


def describe_error(error: RankSRGANError) -> dict[str, Any]:
    """An error as the page shows it."""
    return {"code": error.code, "message": str(error), "field": error.field}


def reply(content: Any, status: int = 200) -> JSONResponse:
    """JSON that no cache keeps."""
    return JSONResponse(content, status, headers={"Cache-Control": "no-store"})


async def reply_to_error(request: Request, error: Exception) -> Response:
    """An error of our tree, with its message."""
    if not isinstance(error, RankSRGANError):
        return await reply_to_failure(request, error)
    answer = reply({"error": describe_error(error)}, http_status(error))
    if isinstance(error, UploadTooSlow):
        answer.headers["Connection"] = "close"  # else the rest would be waited for
    return answer


async def reply_to_http_error(request: Request, error: Exception) -> Response:
    """No such page, or a method that it does not have."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = error.detail if isinstance(error, HTTPException) else "the server failed"
    if not request.url.path.startswith("/api/"):
        return PlainTextResponse(f"{status} {message}\n", status)
    code = "UNKNOWN_NAME" if status == 404 else "INVALID_INPUT"
    return reply({"error": {"code": code, "message": message, "field": None}}, status)


async def reply_to_nobody(request: Request, error: Exception) -> Response:
    """Who sent the request has gone before all of it was here: nothing of ours failed."""
    return Response(status_code=499)


async def reply_to_failure(request: Request, error: Exception) -> Response:
    """What nobody foresaw: only a number leaves us."""
    incident = uuid.uuid4().hex[:12]
    log.error("incident %s at %s", incident, request.url.path, exc_info=error)
    failure = InternalError(f"the page's server failed; its log has incident {incident}")
    return reply({"error": describe_error(failure)}, 500)


def http_status(error: RankSRGANError) -> int:
    """The number that HTTP has for an error."""
    if isinstance(error, ImageTooLarge | UploadTooLarge):
        return 413
    if isinstance(error, UploadTooSlow):
        return 408
    if isinstance(error, DiskFull):
        return 507
    if isinstance(error, MissingAsset):  # the operator's, whatever was asked for
        return 503
    return _HTTP_STATUS[error.status]
