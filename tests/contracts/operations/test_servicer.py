"""``google.longrunning.Operations`` across the wire, and what a server's death does to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import struct_pb2

from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.clients.operations import RemoteOperation, connect_operation
from ranksrgan.contracts.errors import (
    AddressInUse,
    DeadlineExceeded,
    InternalError,
    InvalidDataset,
    InvalidInput,
    NotSupported,
    Overloaded,
    RankSRGANError,
    RequestCancelled,
    ServiceUnavailable,
    UnknownName,
)
from ranksrgan.contracts.operations.servicer import config_from_proto
from ranksrgan.contracts.rpc import (
    RunningServer,
    ServerLimits,
    check_health,
    start_server,
    wait_until_healthy,
)
from ranksrgan.contracts.v1 import job_pb2, ranker_training_pb2, ranker_training_pb2_grpc
from tests.contracts.conftest import in_background
from tests.contracts.trial_server import servicers
from tests.contracts.trials import PATIENCE, Trials, is_alive, until

GATED = {"count": 4, "gate": 2}
ABSENT = "operations/trial-000001-00000000"


def train(
    connection: Connection, ranker: str, config: dict[str, object], request_id: str = ""
) -> RemoteOperation:
    """Ask for a trial job, as a client of a service does."""
    stub = ranker_training_pb2_grpc.RankerTrainingServiceStub(connection.channel())
    request = ranker_training_pb2.TrainRankerRequest(ranker_id=ranker, request_id=request_id)
    request.config.update(config)
    return RemoteOperation(connection, connection.call(stub.TrainRanker, request))


class Service:
    """A supervisor and its server in this process."""

    def __init__(self, trials: Trials, server: RunningServer) -> None:
        self.trials, self.server = trials, server
        self.connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
        self.stub = operations_pb2_grpc.OperationsStub(self.connection.channel())

    def submit(self, ranker: str, config: dict[str, object]) -> RemoteOperation:
        return train(self.connection, ranker, config)

    def list(self, **request: object) -> tuple[list[str], str]:
        answer = self.connection.call(
            self.stub.ListOperations, operations_pb2.ListOperationsRequest(**request)
        )
        return [operation.name for operation in answer.operations], answer.next_page_token


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path, monkeypatch)


@pytest.fixture
def service(trials: Trials) -> Iterator[Service]:
    jobs = trials.supervisor()
    limits = ServerLimits(workers=1, queue=1, waiters=2)
    server = start_server("127.0.0.1:0", servicers(jobs), limits, jobs)
    yield Service(trials, server)
    server.stop()


def test_progress_and_response_are_typed(service: Service) -> None:
    operation = service.submit("a", GATED)
    service.trials.until_traced("rankers/a count 2")
    until(lambda: operation.progress().step > 0)
    progress = operation.progress()
    assert isinstance(progress, ranker_training_pb2.TrainRankerMetadata)
    assert progress.job.state == job_pb2.JOB_STATE_RUNNING
    assert progress.job.attempts == 1
    assert progress.job.create_time.ToNanoseconds() <= progress.job.start_time.ToNanoseconds()
    assert not progress.job.HasField("end_time")
    assert (progress.ranker, progress.steps) == ("rankers/a", 4)
    assert not operation.done
    service.trials.open_gate()
    result = operation.result(PATIENCE)
    assert isinstance(result, ranker_training_pb2.TrainedRanker)
    assert result.step == 4
    assert operation.done
    last = operation.progress()
    assert (last.job.state, last.step) == (job_pb2.JOB_STATE_SUCCEEDED, 4)
    assert last.loss == 0.5 / 4
    assert last.job.HasField("end_time")


def test_errors_of_a_job_arrive_by_class(service: Service) -> None:
    operation = service.submit("a", {"fail": "datasets/x"})
    with pytest.raises(InvalidDataset, match="datasets/x is empty") as caught:
        operation.result(PATIENCE)
    assert caught.value.field == "dataset"
    assert operation.progress().job.state == job_pb2.JOB_STATE_FAILED
    with pytest.raises(InternalError, match="incident") as hidden:
        service.submit("b", {"crash": "/secret/key"}).result(PATIENCE)
    assert "secret" not in str(hidden.value)


def test_errors_of_a_job_have_the_details_of_any_call(service: Service) -> None:
    operation = service.submit("a", {"fail": "datasets/x"})
    assert operation.wait(PATIENCE)
    request = operations_pb2.GetOperationRequest(name=operation.name)
    error = service.stub.GetOperation(request, timeout=PATIENCE).error
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    kinds = [detail.TypeName() for detail in error.details]
    assert kinds == ["google.rpc.ErrorInfo", "google.rpc.BadRequest"]


def test_cancelling_ends_an_operation(service: Service) -> None:
    operation = service.submit("a", {"deaf": True})
    service.trials.until_traced("rankers/a listening")
    operation.cancel()
    with pytest.raises(RequestCancelled, match=operation.name):
        operation.result(PATIENCE)
    assert operation.progress().job.state == job_pb2.JOB_STATE_CANCELLED
    request = operations_pb2.GetOperationRequest(name=operation.name)
    assert service.stub.GetOperation(request, timeout=PATIENCE).error.code == 1
    operation.cancel()  # once more is no error


def test_waiting_has_an_end(service: Service) -> None:
    operation = service.submit("a", GATED)
    assert operation.wait(0.2) is False
    with pytest.raises(DeadlineExceeded, match=f"{operation.name} is not done after 0.1 s"):
        operation.result(0.1)
    service.trials.open_gate()
    assert operation.wait() is True
    assert operation.wait(0) is True


def test_those_who_wait_take_no_place(service: Service) -> None:
    operation = service.submit("a", {"count": 1, "gate": 0})
    request = operations_pb2.WaitOperationRequest(name=operation.name)
    calls = [service.stub.WaitOperation.future(request, timeout=PATIENCE) for _ in range(3)]
    # Two may wait, whichever came first; the other is refused at once.
    until(lambda: any(call.done() for call in calls))
    (refused,) = (call for call in calls if call.done())
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2 clients wait already" in refused.details()
    # One worker, and nobody waits for it: everything else is answered.
    assert not operation.done
    assert service.list() == ([operation.name], "")
    assert check_health(service.server.address, timeout=PATIENCE)
    # Who is refused asks now and then.
    thread, outcome = in_background(lambda: operation.result(PATIENCE).step)
    service.trials.open_gate()
    thread.join(PATIENCE)
    assert outcome == [1]
    assert [call.result().done for call in calls if call is not refused] == [True, True]


def test_a_waiter_that_leaves_makes_room(service: Service) -> None:
    operation = service.submit("a", {"count": 1, "gate": 0})
    for _ in range(6):
        request = operations_pb2.WaitOperationRequest(name=operation.name)
        request.timeout.FromSeconds(2**40)
        call = service.stub.WaitOperation.future(request, timeout=PATIENCE)
        call.cancel()
    look = operations_pb2.WaitOperationRequest(name=operation.name)
    look.timeout.FromMilliseconds(1)

    def is_free() -> bool:
        try:
            return not service.connection.call(service.stub.WaitOperation, look).done
        except Overloaded:
            return False

    until(is_free)


@pytest.mark.parametrize("method", ["Get", "Cancel", "Delete", "Wait"])
def test_names_are_checked(service: Service, method: str) -> None:
    call = getattr(service.stub, f"{method}Operation")
    kind = getattr(operations_pb2, f"{method}OperationRequest")
    with pytest.raises(UnknownName, match=f"no {ABSENT}"):
        service.connection.call(call, kind(name=ABSENT))
    for name in ("", "operations/", "operations/../x", "trial-000001-00000000", ABSENT + "/x"):
        with pytest.raises(InvalidInput, match="operations/ID") as caught:
            service.connection.call(call, kind(name=name))
        assert caught.value.field == "name"


def test_lists_are_filtered_and_paged(service: Service) -> None:
    done = service.submit("0", {"count": 1})
    assert done.wait(PATIENCE)
    rest = [service.submit(f"{n}", {"count": 1, "gate": 0}) for n in (1, 2)]
    names = [done.name, *(operation.name for operation in rest)]
    assert service.list() == (names, "")
    first, token = service.list(page_size=2, name="operations")
    assert (first, bool(token)) == (names[:2], True)
    assert service.list(page_size=2, page_token=token) == (names[2:], "")
    assert service.list(filter="done = true") == (names[:1], "")
    assert service.list(filter=" done=false ", page_size=2000) == (names[1:], "")
    for field, value in (
        ("filter", "done"),
        ("filter", "name = x"),
        ("page_size", -1),
        ("page_token", "../x"),
        ("page_token", f"trial-{'9' * 5000}-00000000"),
        ("name", "projects/1"),
    ):
        with pytest.raises(InvalidInput, match=field) as caught:
            service.list(**{field: value})
        assert caught.value.field == field
    with pytest.raises(NotSupported):
        service.list(return_partial_success=True)


def test_only_what_is_done_can_be_deleted(service: Service) -> None:
    operation = service.submit("a", {"count": 1, "gate": 0})
    with pytest.raises(InvalidInput, match="cancel it first"):
        operation.delete()
    service.trials.open_gate()
    assert operation.wait(PATIENCE)
    operation.delete()
    with pytest.raises(UnknownName):
        connect_operation(service.server.address, operation.name)


def test_a_type_that_is_not_known_is_told(service: Service) -> None:
    strange = operations_pb2.Operation(name=ABSENT, done=True)
    strange.response.type_url = "type.googleapis.com/their.own.Message"
    with pytest.raises(InternalError, match=r"their\.own\.Message"):
        RemoteOperation(service.connection, strange).result()


def test_waiting_clients_do_not_hold_up_a_server_that_stops(service: Service) -> None:
    operation = service.submit("a", {"count": 1, "gate": 0})
    service.trials.until_begun("rankers/a")

    def wait() -> object:
        try:
            return operation.result(PATIENCE)
        except RankSRGANError as error:
            return error

    thread, outcome = in_background(wait)
    stopped = threading.Thread(target=service.server.stop, args=(10 * PATIENCE,))
    stopped.start()
    stopped.join(PATIENCE)
    assert not stopped.is_alive()
    thread.join(PATIENCE)
    assert isinstance(outcome[0], ServiceUnavailable)


def test_a_data_root_that_is_taken_stops_a_server_from_starting(service: Service) -> None:
    jobs = service.trials.supervisor()
    with pytest.raises(AddressInUse, match="another server works on the trial jobs"):
        start_server("127.0.0.1:0", servicers(jobs), background=jobs)


# A server in its own process


class Serving:
    """A trial server's process, at an address that stays."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/s.sock"
        self._command = [sys.executable, "-m", "trial_server", self.address, str(folder)]
        self.connection = Connection(self.address, timeout=PATIENCE, retry_for=PATIENCE)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        assert wait_until_healthy(self.address, timeout=PATIENCE)

    def end(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)


@pytest.fixture
def serving(trials: Trials, tmp_path: Path) -> Iterator[Serving]:
    found = Serving(tmp_path)
    yield found
    found.end(signal.SIGKILL)
    # The jobs of a killed server go on; one that is stopped takes them with it.
    remaining = trials.start()
    remaining.stop()


def test_a_client_waits_through_the_death_of_its_server(trials: Trials, serving: Serving) -> None:
    operation = train(serving.connection, "a", GATED, "r-1")
    trials.until_traced("rankers/a count 2")
    thread, outcome = in_background(lambda: operation.result(PATIENCE))
    serving.end(signal.SIGKILL)
    serving.start()
    # The job's process has not noticed. Who asks by name, or again for the same, finds it.
    assert train(serving.connection, "a", GATED, "r-1").name == operation.name
    assert connect_operation(serving.address, operation.name).progress().job.attempts == 1
    trials.open_gate()
    thread.join(PATIENCE)
    assert outcome == [ranker_training_pb2.TrainedRanker(step=4)]
    assert len(trials.pids("rankers/a")) == 1


def test_a_job_goes_on_after_the_death_of_both(trials: Trials, serving: Serving) -> None:
    operation = train(serving.connection, "a", GATED)
    trials.until_traced("rankers/a count 2")
    serving.end(signal.SIGKILL)
    os.kill(trials.pids("rankers/a")[0], signal.SIGKILL)
    trials.open_gate()
    serving.start()
    assert operation.result(PATIENCE).step == 4
    assert operation.progress().job.attempts == 2
    assert trials.counts("rankers/a") == [1, 2, 3, 4]


def test_a_server_that_is_stopped_stops_its_jobs_and_goes_on(
    trials: Trials, serving: Serving
) -> None:
    operation = train(serving.connection, "a", GATED)
    trials.until_traced("rankers/a count 2")
    assert serving.end(signal.SIGTERM) == 0
    assert not is_alive(trials.pids("rankers/a")[0])
    trials.open_gate()
    serving.start()
    assert operation.result(PATIENCE).step == 4
    assert trials.counts("rankers/a") == [1, 2, 3, 4]


def test_the_same_request_gives_the_same_operation(service: Service) -> None:
    first = train(service.connection, "a", GATED, "r-1")
    assert train(service.connection, "a", GATED, "r-1").name == first.name
    with pytest.raises(InvalidInput, match="another request") as caught:
        train(service.connection, "a", {"count": 5}, "r-1")
    assert caught.value.field == "request_id"
    assert service.list() == ([first.name], "")


def test_a_configuration_is_read_in_one_order() -> None:
    """A Struct has its keys in an order that each process draws anew."""
    request = struct_pb2.Struct()
    request.update({"steps": 4, "losses": dict.fromkeys("fbeadc", 1.5), "a": [{"z": 1, "y": 2}]})
    found = config_from_proto(request)
    assert list(found) == ["a", "losses", "steps"]
    assert list(found["losses"]) == list("abcdef")
    assert list(found["a"][0]) == ["y", "z"]
    assert found == {"a": [{"y": 2, "z": 1}], "losses": dict.fromkeys("abcdef", 1.5), "steps": 4}
