"""Errors between their classes and the wire; see `codec` for all else.

No torch here: what asks a server how it is starts at once.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from ranksrgan.contracts.errors import (
    BY_CODE,
    BY_STATUS,
    InternalError,
    InvalidCheckpoint,
    Overloaded,
    RankSRGANError,
)
from ranksrgan.contracts.serving.client_credentials import ClientCredentials, explain
from ranksrgan.contracts.v1 import error_pb2

#: ``ErrorInfo.domain`` of every error that our servers send.
DOMAIN = "ranksrgan"

# Of an error's text. It travels three times in the metadata of a call, which hold 8 KiB together:
# what is longer ends the call with another status, that of the metadata.
_MAX_TEXT, _MAX_FIELD = 1600, 200


def item_error_to_proto(error: RankSRGANError) -> error_pb2.Error:
    """An error of one item of a stream that goes on."""
    text, field = _public(error)
    return error_pb2.Error(
        code=_status_number(error),
        reason=error.code,
        message=text,
        field=field,
        retry_delay=_retry_delay(error),
    )


def item_error_from_proto(message: error_pb2.Error) -> RankSRGANError:
    """The class that the server raised; by its status where the reason is not known.

    `Overloaded` has the time that the server asks its clients to wait.
    """
    kind = BY_CODE.get(message.reason, _by_number(message.code))
    error = kind(message.message, field=message.field or None)
    if isinstance(error, Overloaded) and message.HasField("retry_delay"):
        error.retry_after = _seconds(message.retry_delay)
    return error


def error_to_proto(error: RankSRGANError) -> status_pb2.Status:
    """An error as ``google.rpc.Status`` with ErrorInfo, and what else is known of it.

    That is BadRequest for a field, and RetryInfo for the time after which an overloaded server has
    room. A text that does not fit, as it repeats what a client has sent, ends with an ellipsis.
    """
    text, field = _public(error)
    text, field = _shortened(text, _MAX_TEXT), _shortened(field, _MAX_FIELD)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.code, domain=DOMAIN, metadata={"field": field} if field else {}
        )
    ]
    if field and error.status == "INVALID_ARGUMENT":
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    delay = _retry_delay(error)
    if delay is not None:
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=_status_number(error), message=text, details=_pack(details))


def error_from_status(status: status_pb2.Status) -> RankSRGANError:
    """The error that a ``google.rpc.Status`` stands for: the same class that was raised.

    `Overloaded` has the time that the server asks its clients to wait.
    """
    info = _error_info(status)
    if info is None:
        return _by_number(status.code)(status.message)
    kind = BY_CODE.get(info.reason, InternalError)
    error = kind(status.message, field=info.metadata.get("field"))
    if isinstance(error, Overloaded):
        error.retry_after = _retry_after(status)
    return error


def error_from_proto(
    call: grpc.RpcError, address: str, credentials: ClientCredentials | None = None
) -> RankSRGANError:
    """The error that a failed call stands for: the same class that the server raised.

    Args:
        call: what the stub raised.
        address: of the server, for messages about the connection itself.
        credentials: that the connection was made with; None for those of the environment.
    """
    code, text = call.code(), call.details() or ""
    status = _own_status(call)
    if status is not None:
        return error_from_status(status)
    kind = BY_STATUS.get(code.name, InternalError)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        refused = explain(address, text, credentials)
        text = refused or f"the service at {address} does not answer: {text}"
    return kind(text)


def is_answer(call: grpc.RpcError) -> bool:
    """Whether a server of ours has said itself why the call failed."""
    return _own_status(call) is not None


def _own_status(call: grpc.RpcError) -> status_pb2.Status | None:
    """What a server of ours has said; None if it was another one, or the connection."""
    status = rpc_status.from_call(call) if isinstance(call, grpc.Call) else None
    return None if status is None or _error_info(status) is None else status


def _public(error: RankSRGANError) -> tuple[str, str]:
    """Text and field for a client. In which folder a server has its weights is not its matter."""
    text, field = error.message, error.field or ""
    if isinstance(error, InvalidCheckpoint) and PurePath(field).is_absolute():
        path = PurePath(field)
        return text.replace(f"{path.parent}/", ""), path.name
    return text, field


def _error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _retry_after(status: status_pb2.Status) -> float | None:
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            return _seconds(info.retry_delay)
    return None


def _retry_delay(error: RankSRGANError) -> duration_pb2.Duration | None:
    if not isinstance(error, Overloaded) or error.retry_after is None:
        return None
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(round(error.retry_after * 1e9))
    return delay


def _seconds(delay: duration_pb2.Duration) -> float:
    seconds: float = delay.ToNanoseconds() / 1e9
    return max(seconds, 0.0)


def _by_number(code: int) -> type[RankSRGANError]:
    names = {status.value[0]: status.name for status in grpc.StatusCode}
    return BY_STATUS.get(names.get(code, ""), InternalError)


def _status_number(error: RankSRGANError) -> int:
    number: int = grpc.StatusCode[error.status].value[0]
    return number


def _shortened(text: str, most: int) -> str:
    """The text if it takes no more than so many bytes on the wire, else its beginning."""
    length = len(text)
    short = text[:most]
    while len(quote(short, safe=string.printable, errors="replace")) > most:
        short = short[: len(short) * 3 // 4]
    return short if len(short) == length else f"{short}..."


def _pack(details: Sequence[Message]) -> list[any_pb2.Any]:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return packed
