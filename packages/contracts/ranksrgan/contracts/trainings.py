"""A server that trains: what clients ask for becomes jobs of a data root, beside what it serves.

Each training makes the folder ``RESULTS/NAME`` of the root (``rankers/faces``), in a process of its
own (`supervisor`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations import OperationKind, OperationsServicer
from ranksrgan.contracts.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.watched_job import JobReport

Request = TypeVar("Request")
Asked = TypeVar("Asked", contravariant=True)


class Trainings(Protocol[Asked]):
    """What trains on request."""

    def submit(self, result_id: str, request: Asked, request_id: str) -> JobReport:
        """Have ``RESULTS/RESULT_ID`` trained.

        Raises:
            InvalidInput: what is asked for cannot be, or is being made already.
            UnknownName: it names something that is not there.
        """
        ...


@dataclass(frozen=True)
class TrainingKind(Generic[Request]):
    """What a service trains, and how.

    Attributes:
        service: its jobs' first word, in small letters (``ranker``).
        job: the kind of its jobs (``TrainRanker``).
        module: runs one: ``python -m MODULE FOLDER``.
        results: folder of the data root (``rankers``).
        id_field: of the request, with the result's name (``ranker_id``).
        prepare: finds out what is wrong with a request now, and returns it as the job gets it,
            JSON. Names stay names: the job looks them up again when it begins.
        operation: how a job looks on the wire.
        servicer: of the service, over trainings and the operations that show them.
    """

    service: str
    job: str
    module: str
    results: str
    id_field: str
    prepare: Callable[[Request, DataRoot], Mapping[str, Any]]
    operation: OperationKind
    servicer: Callable[[Trainings[Request], OperationsServicer], rpc.Servicer]


class TrainingJobs(Generic[Request]):
    """`Trainings`: each is a job of the supervisor's.

    Args:
        kind: what is trained.
        root: where names are looked up and results are put.
        jobs: knows jobs of this kind.
    """

    def __init__(self, kind: TrainingKind[Request], root: DataRoot, jobs: Supervisor) -> None:
        self._kind = kind
        self._root = root
        self._jobs = jobs

    def submit(self, result_id: str, request: Request, request_id: str) -> JobReport:
        """See `Trainings.submit`."""
        kind = self._kind
        name = f"{kind.results}/{result_id}"
        self._root.place(name, kind.results, kind.id_field)
        with self._root.hiding_paths():
            wanted = kind.prepare(request, self._root)
        return self._jobs.submit(kind.job, name, wanted, request_id, field=kind.id_field)


def serve_and_train(
    listen: str,
    servicers: Sequence[rpc.Servicer],
    kind: TrainingKind[Request],
    data_root: Path | None,
    *,
    model_flag: str,
    running: int,
    limits: rpc.ServerLimits,
) -> int:
    """Serve models, trainings or both at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    A training that SIGTERM interrupts goes on when the next server of this root is started.

    Args:
        listen: the address.
        servicers: of the models that are served; they have been opened already, so that what is
            damaged is heard of before anything is served.
        kind: what is trained.
        data_root: where; None for a server that does not train.
        model_flag: the command's flag that names a model, for messages.
        running: trainings at a time; more wait.
        limits: of the server.

    Raises:
        InvalidInput: nothing to serve, or ``data_root`` is no folder.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    if data_root is None:
        if not servicers:
            raise InvalidInput(
                f"nothing to serve: name a model ({model_flag} NAME=PATH), train {kind.results} "
                "(--data-root DIR), or both",
                field="data_root",
            )
        return rpc.serve(listen, servicers, limits)
    root = DataRoot(data_root)
    jobs = Supervisor(root, kind.service, {kind.job: kind.module}, JobLimits(running=running))
    operations = OperationsServicer(jobs, {kind.job: kind.operation})
    training = kind.servicer(TrainingJobs(kind, root, jobs), operations)
    return rpc.serve(listen, [*servicers, training, operations], limits, background=jobs)
