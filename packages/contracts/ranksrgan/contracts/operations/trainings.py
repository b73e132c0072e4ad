"""A server that trains: what clients ask for becomes jobs of a data root, beside what it serves.

Each training makes the folder ``RESULTS/NAME`` of the root (``rankers/faces``), in a process of its
own (`supervisor`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.operations.servicer import OperationKind, OperationsServicer
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.settings import ModelServerSettings

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
        asked: a request as the job gets it, JSON. Names stay names: the job looks them up when it
            begins.
        prepare: finds out what is wrong with a request now, and returns what the job gets beside
            it, the operator's; JSON.
        operation: how a job looks on the wire.
        servicer: of the service, over trainings and the operations that show them.
    """

    service: str
    job: str
    module: str
    results: str
    id_field: str
    asked: Callable[[Request], Mapping[str, Any]]
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

        def prepare() -> Mapping[str, Any]:
            self._root.place(name, kind.results, kind.id_field)
            with self._root.hiding_paths():
                return kind.prepare(request, self._root)

        return self._jobs.submit(
            kind.job, name, kind.asked(request), request_id, prepare=prepare, field=kind.id_field
        )


def serve_and_train(
    settings: ModelServerSettings,
    names: Sequence[str],
    load: Callable[[Observers], Sequence[rpc.Servicer]],
    kind: TrainingKind[Request],
) -> int:
    """Serve models, trainings or both until SIGTERM.

    A training that SIGTERM interrupts goes on when the next server of this root is started.

    Args:
        settings: of the server. With a data root it trains there.
        names: full names of the services of its models, none for a server that only trains.
        load: opens the models and makes those services, while the server listens already. Nothing
            is served if it raises.
        kind: what is trained.

    Raises:
        InvalidInput: see `ServerSettings.check`, or the data root is no folder.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    if settings.data_root is None:
        return rpc.serve(settings, names, lambda observers: rpc.Services(load(observers)))
    root = DataRoot(settings.data_root)
    limits = JobLimits(running=settings.trainings, each=settings.client_limits.operations)
    jobs = Supervisor(root, kind.service, {kind.job: kind.module}, limits)
    operations = OperationsServicer(jobs, {kind.job: kind.operation})
    training = kind.servicer(TrainingJobs(kind, root, jobs), operations)
    also = [training, operations]

    def load_all(observers: Observers) -> rpc.Services:
        return rpc.Services([*load(observers), *also], jobs)

    return rpc.serve(settings, [*names, *(servicer.full_name for servicer in also)], load_all)
