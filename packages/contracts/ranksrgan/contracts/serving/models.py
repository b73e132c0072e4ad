"""``ModelService``, over the models of a repository, and what goes with it."""

from __future__ import annotations

from typing import ClassVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from ranksrgan.contracts.serving.inference_protocol import InferenceServicer, ModelCatalog
from ranksrgan.contracts.serving.model_status import (
    ManagedModels,
    ModelState,
    ModelStatus,
    VersionStatus,
)
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.upscaler import UpscalerInfo
from ranksrgan.contracts.v1 import model_pb2, model_pb2_grpc

_STATES = {
    ModelState.LOADING: model_pb2.MODEL_STATE_LOADING,
    ModelState.READY: model_pb2.MODEL_STATE_READY,
    ModelState.UNLOADED: model_pb2.MODEL_STATE_UNLOADED,
    ModelState.FAILED: model_pb2.MODEL_STATE_FAILED,
}


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """``ModelService`` over what is loaded of a repository."""

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.ModelService"

    def __init__(self, models: ManagedModels) -> None:
        self._models = models

    def add_to(self, server: grpc.Server) -> None:
        model_pb2_grpc.add_ModelServiceServicer_to_server(self, server)

    def ListModels(
        self, request: model_pb2.ModelServiceListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb2.ModelServiceListModelsResponse:
        return model_pb2.ModelServiceListModelsResponse(
            models=[_model_to_proto(status) for status in self._models.statuses()]
        )

    def LoadModel(
        self, request: model_pb2.LoadModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.LoadModelResponse:
        status = self._models.load(request.model)
        return model_pb2.LoadModelResponse(model=_model_to_proto(status))

    def UnloadModel(
        self, request: model_pb2.UnloadModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.UnloadModelResponse:
        status = self._models.unload(request.model)
        return model_pb2.UnloadModelResponse(model=_model_to_proto(status))

    def ReloadModel(
        self, request: model_pb2.ReloadModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.ReloadModelResponse:
        status = self._models.reload(request.model)
        return model_pb2.ReloadModelResponse(model=_model_to_proto(status))


def _model_to_proto(status: ModelStatus) -> model_pb2.RepositoryModel:
    return model_pb2.RepositoryModel(
        name=status.name,
        versions=[_version_to_proto(version) for version in status.versions],
        reason=status.reason,
    )


def _version_to_proto(status: VersionStatus) -> model_pb2.ModelVersion:
    message = model_pb2.ModelVersion(
        version=status.version,
        state=_STATES[status.state],
        reason=status.reason,
        architecture=status.architecture,
        file_hash=status.file_hash,
        size_bytes=status.size,
    )
    if status.info is not None:
        message.parameters_hash = status.info.parameters_hash
        if isinstance(status.info, UpscalerInfo):
            message.scale = status.info.scale
        else:
            message.higher_is_better = status.info.higher_is_better
        moment = Timestamp()
        moment.FromNanoseconds(int(status.loaded_at * 1e9))
        message.load_time.CopyFrom(moment)
    return message


def model_servicers(
    catalog: ModelCatalog,
    models: ManagedModels | None,
    settings: RepositorySettings,
    max_pixels: int,
) -> list[InferenceServicer | ModelServicer]:
    """What is served beside the service of a catalog: its models in the protocol that others speak,
    and, if the operator says so, the management of its repository.

    Args:
        catalog: of the service.
        models: the repository's part of it; None if there is none.
        settings: of the repository.
        max_pixels: of one image.
    """
    managed = models if settings.manage else None
    inference = InferenceServicer(catalog, max_pixels=max_pixels, managed=managed)
    return [inference] if managed is None else [inference, ModelServicer(managed)]


def model_service_names(settings: RepositorySettings) -> list[str]:
    """Full names of what `model_servicers` makes."""
    management = [ModelServicer.full_name] if settings.manage and settings.root else []
    return [InferenceServicer.full_name, *management]
