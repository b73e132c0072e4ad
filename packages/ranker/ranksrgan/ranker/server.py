"""The Ranker service: ``ScoringService`` over trained Rankers, gradients included, and
``RankerTrainingService`` with its operations over a data root.

ROOT/datasets/NAME    rank datasets to learn from
ROOT/rankers/NAME     trainings: ranker.safetensors and what `train` writes beside it
ROOT/operations/      trainings, running and done
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import parse_options
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.ranker_training_service import TRAIN_OPERATION, RankerTrainingServicer
from ranksrgan.contracts.serving.loaded_models import LoadedModels, open_models
from ranksrgan.contracts.serving.model_repository import RepositorySettings
from ranksrgan.contracts.serving.models import model_servicers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.trainings import TrainingKind, serve_and_train
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.scorer import Ranker, open_ranker, ranker_of
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
    repository: RepositorySettings,
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
            (``ranker.safetensors?head=ma``); all are loaded before anything is served. Without any,
            and without a repository, there is no ``ScoringService``.
        data_root: see the module's head; without it there is no ``RankerTrainingService``.
        repository: models with versions, offered beside those.
        trainings: Rankers trained at a time; more wait.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one image.
        max_message_bytes: of one request.

    Raises:
        InvalidCheckpoint: a file is not a Ranker's; nothing is served then. Of a repository, only
            if it holds no other.
        InvalidInput: nothing to serve, a wrong option of a Ranker, ``data_root`` is no folder.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    loaded = open_models(repository, ranker_of, Ranker.named)
    servicers = _servicers(rankers, loaded, repository, max_pixels)
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    with nullcontext() if loaded is None else loaded.polling(repository.poll):
        return serve_and_train(
            listen,
            servicers,
            TRAININGS,
            data_root,
            model_flag="--ranker",
            running=trainings,
            limits=limits,
        )


def _servicers(
    rankers: Mapping[str, Path],
    loaded: LoadedModels[Ranker] | None,
    repository: RepositorySettings,
    max_pixels: int,
) -> list[rpc.Servicer]:
    """What is served over Rankers that are named one by one and those of a repository."""
    if not rankers and loaded is None:
        return []
    catalog = RankerCatalog({name: _open(str(spec)) for name, spec in rankers.items()}, loaded)
    return [
        ScoringServicer(catalog, max_pixels=max_pixels),
        *model_servicers(catalog, loaded, repository, max_pixels),
    ]


def _open(spec: str) -> Ranker:
    path, _, options = spec.partition("?")
    return open_ranker(path, parse_options(options, spec))
