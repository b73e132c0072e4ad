"""``google.longrunning.Operations`` over the jobs of a supervisor.

A service whose method starts long work makes the request a job (`Supervisor.submit`) and answers
with `OperationsServicer.operation` of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2, empty_pb2, json_format, struct_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, NotSupported
from ranksrgan.contracts.operations.jobs import OPERATIONS, JobPhase, is_job_id
from ranksrgan.contracts.operations.supervisor import Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.serving.caller import CALLER
from ranksrgan.contracts.v1 import job_pb2
from ranksrgan.contracts.wire import error_codec

_PAGE, _LARGEST_PAGE = 50, 1000
#: Seconds that WaitOperation waits at most; who wants to wait longer asks again.
_LONGEST_WAIT = 60.0
# A configuration is a page of text.
_MAX_CONFIG_BYTES = 2**20
# Beyond it a float stands for several whole numbers, and none of them is a count of anything: what
# asks for so many steps would have progress that fits into no message.
_LARGEST_WHOLE = 2**53
# Seconds that a google.protobuf.Duration holds: ten thousand years.
_LONGEST_DURATION = 315_576_000_000.0
_DONE_FILTER = re.compile(r"\s*done\s*=\s*(true|false)\s*")
_STATES = {
    JobPhase.QUEUED: job_pb2.JOB_STATE_QUEUED,
    JobPhase.RUNNING: job_pb2.JOB_STATE_RUNNING,
    JobPhase.SUCCEEDED: job_pb2.JOB_STATE_SUCCEEDED,
    JobPhase.FAILED: job_pb2.JOB_STATE_FAILED,
    JobPhase.CANCELLED: job_pb2.JOB_STATE_CANCELLED,
}


@dataclass(frozen=True)
class OperationKind:
    """How the jobs of one kind look on the wire.

    Attributes:
        metadata: from a job and its status to the operation's metadata. The job's ``progress`` is
            empty before the first report.
        response: from a job's result, JSON, to the operation's response.
    """

    metadata: Callable[[JobReport, job_pb2.JobStatus], Message]
    response: Callable[[dict[str, Any]], Message]


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """``google.longrunning.Operations`` of one service.

    Args:
        jobs: whose jobs.
        kinds: for each kind of job, how it looks.
    """

    full_name: ClassVar[str] = "google.longrunning.Operations"

    def __init__(self, jobs: Supervisor, kinds: Mapping[str, OperationKind]) -> None:
        self._jobs = jobs
        self._kinds = kinds

    def add_to(self, server: grpc.Server) -> None:
        operations_pb2_grpc.add_OperationsServicer_to_server(self, server)

    def operation(self, job: JobReport) -> operations_pb2.Operation:
        """A job as the operation that clients know."""
        kind = self._kinds[job.kind]
        operation = operations_pb2.Operation(name=f"{OPERATIONS}/{job.id}", done=job.done)
        operation.metadata.Pack(kind.metadata(job, job_status_to_proto(job)))
        if job.error is not None:
            operation.error.CopyFrom(error_codec.error_to_proto(job.error))
        elif job.result is not None:
            operation.response.Pack(kind.response(job.result))
        return operation

    def GetOperation(
        self, request: operations_pb2.GetOperationRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        return self.operation(self._jobs.get(_job_id(request.name)))

    def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: grpc.ServicerContext
    ) -> operations_pb2.ListOperationsResponse:
        if request.name not in ("", OPERATIONS):
            raise InvalidInput(f"name: {OPERATIONS} is wanted, or nothing", field="name")
        if request.page_size < 0:
            raise InvalidInput("page_size: 0 or more is wanted", field="page_size")
        if request.page_token and not is_job_id(request.page_token):
            raise InvalidInput("page_token: not one of this service's", field="page_token")
        if request.return_partial_success:
            raise NotSupported("return_partial_success", field="return_partial_success")
        jobs, more = self._jobs.page(
            min(request.page_size or _PAGE, _LARGEST_PAGE),
            after=request.page_token,
            done=_done(request.filter),
        )
        return operations_pb2.ListOperationsResponse(
            operations=[self.operation(job) for job in jobs],
            next_page_token=jobs[-1].id if more else "",
        )

    def CancelOperation(
        self, request: operations_pb2.CancelOperationRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self._jobs.cancel(_job_id(request.name))
        return empty_pb2.Empty()

    def DeleteOperation(
        self, request: operations_pb2.DeleteOperationRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self._jobs.delete(_job_id(request.name))
        return empty_pb2.Empty()

    def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        timeout = _LONGEST_WAIT
        if request.HasField("timeout"):
            timeout = min(timeout, request.timeout.seconds + request.timeout.nanos / 1e9)
        still_known = CALLER.get().still_known

        def wanted() -> bool:
            if still_known is not None:
                still_known()
            return context.is_active()

        return self.operation(self._jobs.wait(_job_id(request.name), timeout, wanted))


def job_status_to_proto(job: JobReport) -> job_pb2.JobStatus:
    """The part of the metadata that every long job has."""
    return job_pb2.JobStatus(
        state=_STATES[job.phase],
        create_time=_timestamp(job.created),
        start_time=_timestamp(job.started),
        end_time=_timestamp(job.ended),
        attempts=job.attempts,
    )


def seconds_to_proto(seconds: float | None) -> duration_pb2.Duration | None:
    """A progress's ``eta`` or ``pace``; None, which leaves a field absent, while not known."""
    if seconds is None:
        return None
    duration = duration_pb2.Duration()
    duration.FromMicroseconds(round(min(seconds, _LONGEST_DURATION) * 1e6))
    return duration


def config_from_proto(config: struct_pb2.Struct) -> dict[str, Any]:
    """The keys and values that a client has sent as its request's ``config``, sorted by key: on the
    wire they have no order.

    Raises:
        InvalidInput: more than a page of text.
        InvalidConfig: what is no JSON, NaN say.
    """
    if config.ByteSize() > _MAX_CONFIG_BYTES:
        raise InvalidInput(f"config: over {_MAX_CONFIG_BYTES} bytes", field="config")
    try:
        content: dict[str, Any] = json_format.MessageToDict(config)
    except (json_format.Error, ValueError) as error:  # NaN, or a value of no kind
        raise InvalidConfig(f"config: {error}", field="config") from error
    whole: dict[str, Any] = _with_whole_numbers(content)
    return whole


def _with_whole_numbers(value: Any) -> Any:
    """On the wire every number is a float; 4 is to be 4 again, where only that will do."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_with_whole_numbers(part) for part in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_WHOLE
    return int(value) if whole else value


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds * 1e6))
    return timestamp


def _job_id(name: str) -> str:
    kind, _, job_id = name.partition("/")
    if kind != OPERATIONS or not is_job_id(job_id):
        raise InvalidInput(f"name: {name[:120]!r} is not of the form {OPERATIONS}/ID", field="name")
    return job_id


def _done(text: str) -> bool | None:
    """Of a ListOperations filter: ``done = true``, ``done = false``, or empty for both."""
    found = _DONE_FILTER.fullmatch(text)
    if text.strip() and found is None:
        raise InvalidInput(
            f"filter: {text[:120]!r}; 'done = true' and 'done = false' are known", field="filter"
        )
    return None if found is None else found[1] == "true"
