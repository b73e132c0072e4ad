"""The Open Inference Protocol (KServe v2, as Triton speaks it), over our catalogs.

A scorer takes ``images`` (and ``references``, if it needs them) and gives ``scores``; one with a
gradient gives ``gradients`` too, where a client asks for them. An upscaler takes ``images`` and
gives ``images``. Images are ``(N, 3, H, W)``: UINT8, or floating point in [0, 1]. The answer comes
as the question came: raw, or in typed contents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar, Protocol

import grpc
from torch import Tensor

from ranksrgan.contracts.errors import (
    ImageTooLarge,
    InvalidInput,
    NotSupported,
    UnknownName,
)
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.scorer import DifferentiableScorer, Scorer, ScorerInfo
from ranksrgan.contracts.serving.images import MAX_PIXELS, check_number
from ranksrgan.contracts.serving.inference_tensors import read_inputs, refuse, write_outputs
from ranksrgan.contracts.serving.model_status import ManagedModels, ModelState
from ranksrgan.contracts.serving.on_device import (
    UpscalerOnDevice,
    gradient_on_device,
    score_on_device,
)
from ranksrgan.contracts.upscaler import Upscaler, UpscalerInfo
from ranksrgan.contracts.v1.inference import open_inference_pb2 as pb
from ranksrgan.contracts.v1.inference import open_inference_pb2_grpc

_IMAGES = (-1, 3, -1, -1)

# In the words of the protocol's repository extension.
_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "READY",
    ModelState.UNLOADED: "UNAVAILABLE",
    ModelState.FAILED: "UNAVAILABLE",
}


class ModelCatalog(Protocol):
    """The scorers or the upscalers behind a service."""

    def infos(self) -> Sequence[ScorerInfo | UpscalerInfo]: ...

    def open(self, name: str) -> Scorer | Upscaler:
        """The model of that name; raises UnknownName, or InvalidInput for a wrong option."""
        ...


class Liveness(grpc.GenericRpcHandler):
    """``ServerLive`` and ``ServerReady``, which are answered while models load and a server drains.

    Args:
        is_ready: whether the services serve now.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        def live(request: object, context: object) -> pb.ServerLiveResponse:
            return pb.ServerLiveResponse(live=True)

        def ready(request: object, context: object) -> pb.ServerReadyResponse:
            return pb.ServerReadyResponse(ready=is_ready())

        self._handlers = {
            f"/{InferenceServicer.full_name}/ServerLive": grpc.unary_unary_rpc_method_handler(
                live, pb.ServerLiveRequest.FromString, pb.ServerLiveResponse.SerializeToString
            ),
            f"/{InferenceServicer.full_name}/ServerReady": grpc.unary_unary_rpc_method_handler(
                ready, pb.ServerReadyRequest.FromString, pb.ServerReadyResponse.SerializeToString
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


class InferenceServicer(open_inference_pb2_grpc.GRPCInferenceServiceServicer):
    """``inference.GRPCInferenceService`` over a catalog, but for `Liveness`.

    Args:
        catalog: the models; ``NAME`` with a version is opened as ``NAME:VERSION``.
        max_pixels: of one image.
        managed: the repository that clients may load from and unload; None where they may not.
    """

    full_name: ClassVar[str] = "inference.GRPCInferenceService"

    def __init__(
        self,
        catalog: ModelCatalog,
        *,
        max_pixels: int = MAX_PIXELS,
        managed: ManagedModels | None = None,
    ) -> None:
        self._catalog = catalog
        self._max_pixels = max_pixels
        self._managed = managed

    def add_to(self, server: grpc.Server) -> None:
        open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)

    def ModelReady(
        self, request: pb.ModelReadyRequest, context: grpc.ServicerContext
    ) -> pb.ModelReadyResponse:
        try:
            self._open(request.name, request.version)
        except UnknownName:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ServerMetadataResponse:
        extensions = [] if self._managed is None else ["model_repository"]
        return pb.ServerMetadataResponse(
            name="ranksrgan", version=version("ranksrgan-contracts"), extensions=extensions
        )

    def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: grpc.ServicerContext
    ) -> pb.ModelMetadataResponse:
        info = self._open(request.name, request.version).info
        name = request.name.partition(":")[0]
        response = pb.ModelMetadataResponse(
            name=request.name,
            versions=sorted(
                (
                    other.model_version
                    for other in self._catalog.infos()
                    if other.model_version and other.name.partition(":")[0] == name
                ),
                key=int,
            ),
            platform=f"ranksrgan_{'upscaler' if isinstance(info, UpscalerInfo) else 'scorer'}",
        )
        response.inputs.add(name="images", datatype="FP32", shape=_IMAGES)
        if isinstance(info, UpscalerInfo):
            response.outputs.add(name="images", datatype="FP32", shape=_IMAGES)
            return response
        if info.needs_reference:
            response.inputs.add(name="references", datatype="FP32", shape=_IMAGES)
        response.outputs.add(name="scores", datatype="FP64", shape=[-1])
        if info.differentiable:
            response.outputs.add(name="gradients", datatype="FP32", shape=_IMAGES)
        return response

    def ModelInfer(
        self, request: pb.ModelInferRequest, context: grpc.ServicerContext
    ) -> pb.ModelInferResponse:
        model = self._open(request.model_name, request.model_version)
        refuse(request.parameters, "parameters", "sequence_")
        for tensor in request.inputs:
            _check_shape(tensor.name[:60], tuple(tensor.shape), self._max_pixels)
        inputs = read_inputs(request)
        outputs = [output.name for output in request.outputs]
        for output in request.outputs:
            refuse(output.parameters, output.name, "shared_memory", "classification")
        if isinstance(model, Upscaler):
            results = _upscale(model, inputs, outputs)
        else:
            results = _score(model, inputs, outputs)
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version=model.info.model_version, id=request.id
        )
        write_outputs(response, results, raw=bool(request.raw_input_contents))
        return response

    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryIndexResponse:
        models = self._repository(request.repository_name)
        response = pb.RepositoryIndexResponse()
        for status in models.statuses():
            for one in status.versions:
                if one.state is ModelState.READY or not request.ready:
                    response.models.add(
                        name=status.name,
                        version=str(one.version),
                        state=_STATES[one.state],
                        reason=one.reason,
                    )
            if not status.versions and not request.ready:
                response.models.add(name=status.name, state="UNAVAILABLE", reason=status.reason)
        return response

    def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelLoadResponse:
        models = self._repository(request.repository_name)
        refuse(request.parameters, "parameters", "")
        # In this protocol, to load what is loaded is to load it anew.
        serves = models.get(request.model_name) is not None
        (models.reload if serves else models.load)(request.model_name)
        return pb.RepositoryModelLoadResponse()

    def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: grpc.ServicerContext
    ) -> pb.RepositoryModelUnloadResponse:
        self._repository(request.repository_name).unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _open(self, name: str, version: str) -> Scorer | Upscaler:
        return self._catalog.open(f"{name}:{version}" if version else name)

    def _repository(self, name: str) -> ManagedModels:
        if self._managed is None:
            raise NotSupported("this server lets nobody manage its models")
        if name:
            raise UnknownName("there is one repository, without a name", field="repository_name")
        return self._managed


def _upscale(
    upscaler: Upscaler, inputs: Mapping[str, Tensor], outputs: Sequence[str]
) -> dict[str, Tensor]:
    _check_names("inputs", list(inputs), ["images"], needed="images")
    _check_names("outputs", outputs, ["images"])
    on_device = UpscalerOnDevice(upscaler, upscaler.info.name)
    return {"images": on_device.upscale(as_float(inputs["images"]))}


def _score(
    scorer: Scorer, inputs: Mapping[str, Tensor], outputs: Sequence[str]
) -> dict[str, Tensor]:
    _check_names("inputs", list(inputs), ["images", "references"], needed="images")
    _check_names("outputs", outputs, ["scores", "gradients"])
    images, references = inputs["images"], inputs.get("references")
    if "gradients" not in outputs:
        return {"scores": score_on_device(scorer, scorer.info.name, images, references)}
    if not scorer.info.differentiable or not isinstance(scorer, DifferentiableScorer):
        raise NotSupported(f"{scorer.info.name} has no gradient", field="outputs")
    scores, gradients = gradient_on_device(scorer, scorer.info.name, images, references)
    results = {"scores": scores, "gradients": gradients}
    return {name: results[name] for name in outputs}


def _check_names(field: str, names: Sequence[str], known: Sequence[str], needed: str = "") -> None:
    if unknown := [name for name in names if name not in known]:
        raise InvalidInput(
            f"{field}: {unknown[0][:60]!r} is none of {', '.join(known)}", field=field
        )
    if needed and needed not in names:
        raise InvalidInput(f"{field}: {needed} are missing", field=field)


def _check_shape(name: str, shape: tuple[int, ...], max_pixels: int) -> None:
    if len(shape) != 4 or shape[1] not in (1, 3) or min(shape) < 1:
        raise InvalidInput(
            f"{name} should have the shape (N, 3, H, W), not {str(shape)[:120]}", field=name
        )
    check_number(shape[0], name)
    if shape[2] * shape[3] > max_pixels:
        raise ImageTooLarge(
            f"{name} are {shape[3]} x {shape[2]} pixels each; at most {max_pixels} are read",
            field=name,
        )
