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
from contextlib import ExitStack
from typing import Any

from ranksrgan.contracts import rpc
from ranksrgan.contracts.config_limits import check_limits
from ranksrgan.contracts.data_root import DataRoot
from ranksrgan.contracts.discovery import from_anywhere
from ranksrgan.contracts.operations.generator_training_service import (
    TRAIN_OPERATION,
    GeneratorTrainingServicer,
)
from ranksrgan.contracts.operations.trainings import TrainingKind, serve_and_train
from ranksrgan.contracts.serving.loaded_models import open_models, open_named
from ranksrgan.contracts.serving.models import model_service_names, model_servicers
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.serving.upscale_stream import UpscaleStreams
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.settings import SrganServerSettings
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.training.judged_crops import check_judged_here
from ranksrgan.srgan.training_limits import SETTING, TrainingLimits, check_training
from ranksrgan.srgan.training_request import GENERATORS, read_config, used_rankers
from ranksrgan.srgan.upscaling.opening import open_generator, upscaler_of
from ranksrgan.srgan.upscaling.picture import enlargement_for, upscale_picture
from ranksrgan.srgan.upscaling.rows import RowsEnlargement
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler


def serve(settings: SrganServerSettings) -> int:
    """Serve generators until SIGTERM.

    Without models, by name or in a repository, the shipped ones are served, and without a data root
    there is no ``GeneratorTrainingService``. A training that SIGTERM interrupts goes on when the
    next server of this root is started.

    Raises:
        InvalidCheckpoint: a file is not a generator's; nothing is served then. Of a repository,
            only if it holds no other.
        InvalidInput, InvalidConfig: see `SrganServerSettings.check`.
        MissingAsset: see `ShippedWeights.path`.
        AddressInUse: another server has the address, or the trainings of this root.
    """
    repository = settings.model_repository
    specs = {name: from_anywhere(spec) for name, spec in settings.rankers.items()}
    with ExitStack() as serving:

        def load(observers: Observers) -> list[rpc.Servicer]:
            models = open_named(settings.models, open_generator, observers)
            loaded = open_models(repository, upscaler_of, GeneratorUpscaler.named, observers)
            if loaded is not None:
                serving.enter_context(loaded.polling(repository.poll))
            shipped = {}
            if not models and (loaded is None or not loaded.serving()):
                shipped = open_named(SHIPPED.paths(), open_generator, observers)
            catalog = UpscalerCatalog(models, loaded, shipped)
            return [
                SuperResolutionServicer(
                    catalog,
                    upscale_picture,
                    max_pixels=settings.max_pixels,
                    streams=UpscaleStreams(
                        enlargement_for,
                        RowsEnlargement,
                        settings.upscale_stream,
                        settings.open_spool(),
                    ),
                ),
                *model_servicers(catalog, loaded, repository, settings.max_pixels),
            ]

        names = [SuperResolutionServicer.full_name, *model_service_names(repository)]
        return serve_and_train(settings, names, load, _trainings(specs, settings.training_limits))


def _trainings(rankers: Mapping[str, str], limits: TrainingLimits) -> TrainingKind[dict[str, Any]]:
    def prepare(config: dict[str, Any], root: DataRoot) -> dict[str, Any]:
        check_limits(config, limits, SETTING)
        wanted = read_config(config, root, rankers)
        check_training(wanted, limits)
        check_judged_here(wanted)
        return {"rankers": used_rankers(config, rankers)}

    return TrainingKind(
        service="srgan",
        job="TrainGenerator",
        module="ranksrgan.srgan.job",
        results=GENERATORS,
        id_field="generator_id",
        asked=lambda config: {"config": config},
        prepare=prepare,
        operation=TRAIN_OPERATION,
        servicer=GeneratorTrainingServicer,
    )
