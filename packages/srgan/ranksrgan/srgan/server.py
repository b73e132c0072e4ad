"""The generators' service: ``SuperResolutionService`` over trained generators, and
``GeneratorTrainingService`` with its operations over a data root.

ROOT/images/NAME        folders of images to learn from and to validate on
ROOT/rankers/NAME       Rankers: trainings of the Ranker service, or weights
ROOT/models/NAME        weights to start from
ROOT/generators/NAME    trainings: generator.safetensors and what `train` writes beside it
ROOT/operations/        trainings, running and done
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot, check_id
from ranksrgan.contracts.discovery import from_anywhere
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.generator_training_service import (
    TRAIN_OPERATION,
    GeneratorTrainingServicer,
)
from ranksrgan.contracts.serving.loaded_models import LoadedModels, open_models
from ranksrgan.contracts.serving.model_repository import RepositorySettings
from ranksrgan.contracts.serving.models import model_servicers
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.contracts.trainings import TrainingKind, serve_and_train
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.training_request import GENERATORS, read_config, used_rankers
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler, open_generator, upscaler_of


def serve(
    listen: str,
    models: Mapping[str, Path],
    data_root: Path | None,
    rankers: Mapping[str, str],
    repository: RepositorySettings,
    *,
    trainings: int,
    workers: int,
    queue: int,
    max_pixels: int,
    max_message_bytes: int,
) -> int:
    """Serve generators at ``HOST:PORT`` or ``unix:PATH`` until SIGTERM.

    A training that SIGTERM interrupts goes on when the next server of this root is started.

    Args:
        listen: the address.
        models: weights by the name that clients use; all are loaded before anything is served.
            Without any, and without a repository, there is no ``SuperResolutionService``.
        data_root: see the module's head; without it there is no ``GeneratorTrainingService``.
        rankers: specs for `open_scorer` (weights, or services at their addresses) by the names by
            which clients may use them as a loss. A training opens them when it begins.
        repository: models with versions, offered beside those.
        trainings: generators trained at a time; more wait.
        workers: requests worked on at a time.
        queue: requests that may wait.
        max_pixels: of one input image.
        max_message_bytes: of one request.

    Raises:
        InvalidCheckpoint: a file is not a generator's; nothing is served then. Of a repository,
            only if it holds no other.
        InvalidInput: nothing to serve, a Ranker without a data root or with an impossible name,
            ``data_root`` is no folder.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    if rankers and data_root is None:
        raise InvalidInput(
            "a Ranker is for trainings, and they are in a data root: --data-root DIR",
            field="ranker",
        )
    loaded = open_models(repository, upscaler_of, GeneratorUpscaler.named)
    servicers = _servicers(models, loaded, repository, max_pixels)
    specs = {check_id(name, "ranker"): from_anywhere(spec) for name, spec in rankers.items()}
    limits = rpc.ServerLimits(workers=workers, queue=queue, max_message_bytes=max_message_bytes)
    with nullcontext() if loaded is None else loaded.polling(repository.poll):
        return serve_and_train(
            listen,
            servicers,
            _trainings(specs),
            data_root,
            model_flag="--model",
            running=trainings,
            limits=limits,
        )


def _servicers(
    models: Mapping[str, Path],
    loaded: LoadedModels[GeneratorUpscaler] | None,
    repository: RepositorySettings,
    max_pixels: int,
) -> list[rpc.Servicer]:
    """What is served over models that are named one by one and those of a repository."""
    if not models and loaded is None:
        return []
    named = {name: open_generator(str(path), {}) for name, path in models.items()}
    catalog = UpscalerCatalog(named, loaded)
    return [
        SuperResolutionServicer(
            catalog,
            upscale_picture,
            max_pixels=max_pixels,
            streams=UpscaleStreams(enlargement_for),
        ),
        *model_servicers(catalog, loaded, repository, max_pixels),
    ]


def _trainings(rankers: Mapping[str, str]) -> TrainingKind[dict[str, Any]]:
    def prepare(config: dict[str, Any], root: DataRoot) -> dict[str, Any]:
        read_config(config, root, rankers)
        return {"config": config, "rankers": used_rankers(config, rankers)}

    return TrainingKind(
        service="srgan",
        job="TrainGenerator",
        module="ranksrgan.srgan.job",
        results=GENERATORS,
        id_field="generator_id",
        prepare=prepare,
        operation=TRAIN_OPERATION,
        servicer=GeneratorTrainingServicer,
    )
