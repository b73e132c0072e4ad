"""The Ranker service: ``ScoringService`` over trained Rankers, gradients included, and
``RankerTrainingService`` with its operations over a data root.

ROOT/datasets/NAME    rank datasets to learn from
ROOT/rankers/NAME     trainings: ranker.safetensors and what `train` writes beside it
ROOT/operations/      trainings, running and done
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.ranker_training_service import TRAIN_OPERATION, RankerTrainingServicer
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.trainings import TrainingKind, serve_and_train
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.scorer import Ranker, open_ranker
from ranksrgan.ranker.training_request import RANKERS, open_training


def _prepare(request: TrainingRequest, root: DataRoot) -> dict[str, Any]:
    open_training(request, root)
    return request.model_dump()


TRAININGS = TrainingKind(
    service="ranker",
    job="TrainRanker",
    module="ranksrgan.ranker.job",
    results=RANKERS,
    id_field="ranker_id",
    prepare=_prepare,
    operation=TRAIN_OPERATION,
    servicer=RankerTrainingServicer,
)


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
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    return serve_and_train(
        listen,
        servicers,
        TRAININGS,
        data_root,
        model_flag="--ranker",
        running=trainings,
        limits=limits,
    )


def _open(spec: str) -> Ranker:
    path, _, options = spec.partition("?")
    return open_ranker(path, parse_options(options, spec))
