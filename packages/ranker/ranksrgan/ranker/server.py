"""The Ranker service: ``ScoringService`` over trained Rankers, gradients included, and
``RankerTrainingService`` with its operations over a data root.

ROOT/datasets/NAME    rank datasets to learn from
ROOT/rankers/NAME     trainings: ranker.safetensors and what `train` writes beside it
ROOT/operations/      trainings, running and done
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations import OperationsServicer
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.ranker_training_service import TRAIN_OPERATION, RankerTrainingServicer
from ranksrgan.contracts.service import ScoringServicer
from ranksrgan.contracts.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.watched_job import JobReport
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.scorer import Ranker, open_ranker
from ranksrgan.ranker.training_request import RANKERS, open_training

SERVICE = "ranker"
TRAIN = "TrainRanker"


class Trainings:
    """`RankerTrainings`: each is a job of the supervisor's, in a process of its own."""

    def __init__(self, root: DataRoot, jobs: Supervisor) -> None:
        self._root = root
        self._jobs = jobs

    def submit(self, ranker_id: str, request: TrainingRequest, request_id: str) -> JobReport:
        """See `RankerTrainings.submit`. The job gets names, and looks them up when it begins."""
        name = f"{RANKERS}/{ranker_id}"
        self._root.place(name, RANKERS, "ranker_id")
        with self._root.hiding_paths():
            open_training(request, self._root)
        return self._jobs.submit(TRAIN, name, request.model_dump(), request_id)


def serve(
    listen: str,
    rankers: Mapping[str, Path],
    data_root: Path | None,
    *,
    trainings: int,
    workers: int,
    queue: int,
    max_pixels: int,
    max_message_bytes: int,
) -> int:
    """Serve Rankers at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    A training that SIGTERM interrupts goes on when the next server of this root is started.

    Args:
        listen: the address.
        rankers: weights by the name that clients use, with options as in a scorer's spec
            (``ranker.safetensors?head=ma``); all are loaded before anything is served. Without any
            there is no ``ScoringService``.
        data_root: see the module's head; without it there is no ``RankerTrainingService``.
        trainings: Rankers trained at a time; more wait.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one image.
        max_message_bytes: of one request.

    Raises:
        InvalidCheckpoint: a file is not a Ranker's; nothing is served then.
        InvalidInput: nothing to serve, a wrong option of a Ranker, ``data_root`` is no folder.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    servicers: list[rpc.Servicer] = []
    if rankers:
        catalog = RankerCatalog({name: _open(str(spec)) for name, spec in rankers.items()})
        servicers.append(ScoringServicer(catalog, max_pixels=max_pixels))
    jobs = None
    if data_root is not None:
        root = DataRoot(data_root)
        limits = JobLimits(running=trainings)
        jobs = Supervisor(root, SERVICE, {TRAIN: "ranksrgan.ranker.job"}, limits)
        operations = OperationsServicer(jobs, {TRAIN: TRAIN_OPERATION})
        servicers += [RankerTrainingServicer(Trainings(root, jobs), operations), operations]
    if not servicers:
        raise InvalidInput(
            "nothing to serve: give --ranker NAME=PATH to score with, --data-root DIR to train in, "
            "or both",
            field="ranker",
        )
    server_limits = rpc.ServerLimits(
        workers=workers, queue=queue, max_message_bytes=max_message_bytes
    )
    return rpc.serve(listen, servicers, server_limits, background=jobs)


def _open(spec: str) -> Ranker:
    path, _, options = spec.partition("?")
    return open_ranker(path, parse_options(options, spec))
