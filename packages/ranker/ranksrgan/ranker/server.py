"""The Ranker service: ``ScoringService`` over trained Rankers, gradients included, and
``RankerTrainingService`` with its operations over a data root.

ROOT/datasets/NAME    rank datasets to learn from
ROOT/rankers/NAME     trainings: ranker.safetensors and what `train` writes beside it
ROOT/operations/      trainings, running and done
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.operations.ranker_training_service import (
    TRAIN_OPERATION,
    RankerTrainingServicer,
)
from ranksrgan.contracts.operations.trainings import TrainingKind, serve_and_train
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.serving.loaded_models import open_models, open_named
from ranksrgan.contracts.serving.models import model_service_names, model_servicers
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.ranker.opening import Opened, open_ranker, ranker_of
from ranksrgan.ranker.settings import RankerServerSettings
from ranksrgan.ranker.shipped import SHIPPED
from ranksrgan.ranker.training_limits import TrainingLimits, check_request
from ranksrgan.ranker.training_request import RANKERS, open_training


def serve(settings: RankerServerSettings) -> int:
    """Serve Rankers until SIGTERM.

    Without any, by name or in a repository, the shipped one is served, and without a data root
    there is no ``RankerTrainingService``. A training that SIGTERM interrupts goes on when the next
    server of this root is started.

    Raises:
        InvalidCheckpoint: a file is not a Ranker's; nothing is served then. Of a repository, only
            if it holds no other.
        InvalidInput: a wrong option of a Ranker, the data root is no folder.
        MissingAsset: see `ShippedWeights.path`.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    repository = settings.model_repository
    with ExitStack() as serving:

        def load(observers: Observers) -> list[rpc.Servicer]:
            rankers = open_named(settings.rankers, open_ranker, observers)
            loaded = open_models(repository, ranker_of, _named, observers)
            if loaded is not None:
                serving.enter_context(loaded.polling(repository.poll))
            shipped = {}
            if not rankers and (loaded is None or not loaded.serving()):
                shipped = open_named(SHIPPED.paths(), open_ranker, observers)
            catalog = RankerCatalog(rankers, loaded, shipped)
            return [
                ScoringServicer(
                    catalog,
                    max_pixels=settings.max_pixels,
                    max_message_bytes=settings.max_message_bytes,
                    spool=settings.open_spool(),
                ),
                *model_servicers(catalog, loaded, repository, settings.max_pixels),
            ]

        names = [ScoringServicer.full_name, *model_service_names(repository)]
        return serve_and_train(settings, names, load, _trainings(settings.training_limits))


def _named(ranker: Opened, name: str, version: str) -> Opened:
    return ranker.named(name, version)


def _trainings(limits: TrainingLimits) -> TrainingKind[TrainingRequest]:
    def prepare(request: TrainingRequest, root: DataRoot) -> dict[str, Any]:
        check_request(request, limits)
        open_training(request, root)
        return {}

    return TrainingKind(
        service="ranker",
        job="TrainRanker",
        module="ranksrgan.ranker.job",
        results=RANKERS,
        id_field="ranker_id",
        asked=TrainingRequest.model_dump,
        prepare=prepare,
        operation=TRAIN_OPERATION,
        servicer=RankerTrainingServicer,
    )
