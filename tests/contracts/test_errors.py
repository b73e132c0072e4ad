from __future__ import annotations

import grpc
import pytest

from ranksrgan.contracts import errors
from ranksrgan.contracts.errors import BY_CODE, BY_STATUS, InvalidCheckpoint, RankSRGANError
from ranksrgan.contracts.wire import error_codec


class FailedCall(grpc.RpcError):
    """A failed call that carries a bare status, as a proxy or another implementation sends it."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


def all_classes(root: type[RankSRGANError] = RankSRGANError) -> set[type[RankSRGANError]]:
    return {root}.union(*(all_classes(child) for child in root.__subclasses__()))


def test_every_class_that_may_travel_is_in_the_table() -> None:
    local = {RankSRGANError, errors.AddressInUse}
    ours = {cls for cls in all_classes() if cls.__module__ == errors.__name__}
    assert set(BY_CODE.values()) == ours - local


def test_codes_are_unique_and_statuses_exist() -> None:
    assert len(BY_CODE) == len(set(BY_CODE.values()))
    for cls in BY_CODE.values():
        assert grpc.StatusCode[cls.status]
    for status, cls in BY_STATUS.items():
        assert grpc.StatusCode[status]
        assert cls in BY_CODE.values()


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidImage, ValueError),
        (errors.UnknownName, LookupError),
        (errors.MissingAsset, FileNotFoundError),
        (errors.ServiceUnavailable, ConnectionError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.DiskFull, OSError),
        (errors.Unauthenticated, PermissionError),
        (errors.Forbidden, PermissionError),
    ],
)
def test_each_is_what_a_python_caller_expects(
    cls: type[RankSRGANError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="what is wrong"):
        raise cls("what is wrong")


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_status_carries_reason_field_and_text(code: str) -> None:
    error = BY_CODE[code]("what is wrong", field="images[3]")
    status = error_codec.error_to_proto(error)
    assert grpc.StatusCode[error.status].value[0] == status.code
    assert status.message == "what is wrong"
    assert any(b"images[3]" in detail.value for detail in status.details)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidInput),
        (grpc.StatusCode.NOT_FOUND, errors.UnknownName),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitExceeded),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
        (grpc.StatusCode.UNAUTHENTICATED, errors.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, errors.Forbidden),
        (grpc.StatusCode.DATA_LOSS, errors.InternalError),
    ],
)
def test_a_bare_status_falls_back_on_the_second_table(
    status: grpc.StatusCode, cls: type[RankSRGANError]
) -> None:
    error = error_codec.error_from_proto(FailedCall(status, "text"), "host:1")
    assert type(error) is cls
    assert str(error) == "text"


@pytest.mark.parametrize("folder", ["/srv/models", "/srv/my models/a"])
def test_clients_do_not_hear_where_weights_lie(folder: str) -> None:
    error = InvalidCheckpoint(f"{folder}/x.pth is damaged: no archive", field=f"{folder}/x.pth")
    for heard in (
        error_codec.error_from_status(error_codec.error_to_proto(error)),
        error_codec.item_error_from_proto(error_codec.item_error_to_proto(error)),
    ):
        assert type(heard) is InvalidCheckpoint
        assert (heard.message, heard.field) == ("x.pth is damaged: no archive", "x.pth")
    named = InvalidCheckpoint("x4/1/model.safetensors is damaged", field="x4/1/model.safetensors")
    assert error_codec.item_error_to_proto(named).field == "x4/1/model.safetensors"
