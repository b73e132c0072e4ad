"""The Open Inference Protocol on real servers: by our stubs, and by a client that others wrote."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from torch import Tensor

from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.errors import (
    ImageTooLarge,
    ImageTooSmall,
    InvalidInput,
    LimitExceeded,
    NotSupported,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.images import as_float
from ranksrgan.contracts.rpc import RunningServer, check_health, start_server
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.serving.inference_protocol import InferenceServicer
from ranksrgan.contracts.serving.loaded_models import open_models
from ranksrgan.contracts.serving.models import model_servicers
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.upscaler import Upscaler
from ranksrgan.contracts.v1.inference import open_inference_pb2 as pb
from ranksrgan.contracts.v1.inference import open_inference_pb2_grpc
from ranksrgan.metrics.catalog import MetricCatalog
from ranksrgan.ranker import load_ranker
from ranksrgan.ranker.catalog import RankerCatalog
from ranksrgan.srgan import open_generator
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.opening import upscaler_of
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler
from tests.contracts.repositories import put_generator, put_ranker

#: The Python of an environment with tritonclient[grpc], which cannot live in ours: see there.
TRITON = os.environ.get("RANKSRGAN_TRITON_PYTHON")
#: Another project's generator, of those that must not be redistributed.
IMDN = Path(__file__).parents[3] / "shared/data/weights/sr/imdn_baseline_x4.pth"
PATIENCE = 120.0


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


class Both:
    """Generators of a repository and a Ranker behind one service."""

    def __init__(self, upscalers: UpscalerCatalog, rankers: RankerCatalog) -> None:
        self._upscalers = upscalers
        self._rankers = rankers

    def infos(self) -> list[Any]:
        return [*self._upscalers.infos(), *self._rankers.infos()]

    def open(self, name: str) -> Scorer | Upscaler:
        return self._rankers.open(name) if name == "niqe" else self._upscalers.open(name)


@dataclass(frozen=True)
class Served:
    server: RunningServer
    stub: Any
    connection: Connection
    upscaler: Upscaler
    ranker: Any

    def call(self, method: str, **fields: Any) -> Any:
        request = getattr(pb, f"{method}Request")(**fields)
        return self.connection.call(getattr(self.stub, method), request)

    def infer(self, model: str, *inputs: Any, **fields: Any) -> Any:
        return self.call("ModelInfer", model_name=model, inputs=inputs, **fields)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("inference")
    root = folder / "repository"
    put_generator(root, "x4", 1, seed=1)
    generator = put_generator(root, "x4", 2, seed=2)
    ranker = load_ranker(put_ranker(folder, "niqe", 1, seed=3), device="cpu")
    settings = RepositorySettings(root=root, manage=True)
    models = open_models(settings, upscaler_of, GeneratorUpscaler.named)
    catalog = Both(UpscalerCatalog({}, models), RankerCatalog({"niqe": ranker}))
    server = start_server("127.0.0.1:0", model_servicers(catalog, models, settings, 4096))
    connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
    stub = open_inference_pb2_grpc.GRPCInferenceServiceStub(connection.channel())
    yield Served(server, stub, connection, open_generator(str(generator), {}), ranker)
    connection.close()
    server.stop()


def typed(images: Tensor, name: str = "images", kind: str = "FP32") -> Any:
    field = {"FP32": "fp32_contents", "FP64": "fp64_contents", "UINT8": "uint_contents"}[kind]
    return pb.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=kind,
        shape=list(images.shape),
        contents=pb.InferTensorContents(**{field: images.reshape(-1).tolist()}),
    )


def bare(images: Tensor, name: str = "images", kind: str = "FP32") -> Any:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=kind, shape=list(images.shape))


def asked(*names: str) -> list[Any]:
    return [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]


def raw(response: Any, index: int, dtype: torch.dtype) -> Tensor:
    data = bytearray(response.raw_output_contents[index])
    return torch.frombuffer(data, dtype=dtype).reshape(tuple(response.outputs[index].shape))


KINDS = [
    ("FP32", torch.float32),
    ("FP64", torch.float64),
    ("UINT8", torch.uint8),
    ("FP16", torch.float16),
]


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
def test_raw_values_are_the_local_ones_to_the_bit(
    served: Served, kind: str, dtype: torch.dtype
) -> None:
    images = (noise(2, 3, 40, 36) * (255 if kind == "UINT8" else 1)).to(dtype)
    fields = {"raw_input_contents": [images.numpy().tobytes()]}
    answer = served.infer("x4", bare(images, kind=kind), **fields)
    assert (answer.outputs[0].name, answer.outputs[0].datatype) == ("images", "FP32")
    assert not answer.outputs[0].HasField("contents")
    expected = served.upscaler.upscale(as_float(images))
    assert torch.equal(raw(answer, 0, torch.float32), expected)
    answer = served.infer("niqe", bare(images, kind=kind), **fields)
    assert [(o.name, o.datatype) for o in answer.outputs] == [("scores", "FP64")]
    assert torch.equal(raw(answer, 0, torch.float64), served.ranker.score(images))


@pytest.mark.parametrize(("kind", "dtype"), KINDS[:3])
def test_typed_values_are_the_local_ones_to_the_bit(
    served: Served, kind: str, dtype: torch.dtype
) -> None:
    images = (noise(2, 3, 40, 36) * (255 if kind == "UINT8" else 1)).to(dtype)
    answer = served.infer("x4", typed(images, kind=kind))
    assert not answer.raw_output_contents
    (output,) = answer.outputs
    values = torch.tensor(list(output.contents.fp32_contents)).reshape(tuple(output.shape))
    assert torch.equal(values, served.upscaler.upscale(as_float(images)))
    (output,) = served.infer("niqe", typed(images, kind=kind)).outputs
    scores = torch.tensor(list(output.contents.fp64_contents), dtype=torch.float64)
    assert torch.equal(scores, served.ranker.score(images))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_come_where_they_are_asked_for(served: Served, dtype: torch.dtype) -> None:
    images = noise(2, 3, 40, 36).to(dtype)
    kind = "FP32" if dtype == torch.float32 else "FP64"
    answer = served.infer(
        "niqe",
        bare(images, kind=kind),
        outputs=asked("gradients", "scores"),
        raw_input_contents=[images.numpy().tobytes()],
    )
    scores, gradients = served.ranker.gradient(images)
    assert [output.name for output in answer.outputs] == ["gradients", "scores"]
    assert answer.outputs[0].datatype == kind
    assert torch.equal(raw(answer, 0, dtype), gradients)
    assert torch.equal(raw(answer, 1, torch.float64), scores)


def test_references_are_passed_on() -> None:
    server = start_server("127.0.0.1:0", [InferenceServicer(MetricCatalog())])
    connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
    try:
        stub: Any = open_inference_pb2_grpc.GRPCInferenceServiceStub(connection.channel())
        images, references = noise(2, 3, 20, 24), noise(2, 3, 20, 24, seed=1)
        request = pb.ModelInferRequest(
            model_name="psnr?border=2",
            inputs=[bare(images), bare(references, "references")],
            raw_input_contents=[images.numpy().tobytes(), references.numpy().tobytes()],
        )
        answer = connection.call(stub.ModelInfer, request)
        local = MetricCatalog().open("psnr?border=2").score(images, references)
        assert torch.equal(raw(answer, 0, torch.float64), local)
        request = pb.ModelMetadataRequest(name="psnr")
        metadata = connection.call(stub.ModelMetadata, request)
        assert [i.name for i in metadata.inputs] == ["images", "references"]
        assert list(metadata.versions) == []
        with pytest.raises(InvalidInput, match="reference"):
            connection.call(
                stub.ModelInfer, pb.ModelInferRequest(model_name="psnr", inputs=[typed(images)])
            )
        with pytest.raises(NotSupported, match="psnr has no gradient"):
            connection.call(
                stub.ModelInfer,
                pb.ModelInferRequest(
                    model_name="psnr", inputs=[typed(images)], outputs=asked("gradients")
                ),
            )
    finally:
        connection.close()
        server.stop()


def test_versions_and_ids(served: Served) -> None:
    images = noise(1, 3, 8, 8)
    first, second = (
        served.infer("x4", typed(images), model_version=version, id="7") for version in ("1", "")
    )
    assert (first.model_name, first.model_version, first.id) == ("x4", "1", "7")
    assert second.model_version == "2"
    assert first.outputs[0].contents != second.outputs[0].contents


def test_metadata(served: Served) -> None:
    assert served.call("ServerLive").live
    assert served.call("ServerReady").ready
    server = served.call("ServerMetadata")
    assert (server.name, list(server.extensions)) == ("ranksrgan", ["model_repository"])
    assert check_health(served.server.address, "inference.GRPCInferenceService")
    metadata = served.call("ModelMetadata", name="x4")
    assert metadata.name == "x4"
    assert list(metadata.versions) == ["1", "2"]
    assert list(served.call("ModelMetadata", name="x4:1").versions) == ["1", "2"]
    assert metadata.platform == "ranksrgan_upscaler"
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [
        ("images", "FP32", [-1, 3, -1, -1])
    ]
    scorer = served.call("ModelMetadata", name="niqe")
    assert [(o.name, o.datatype, list(o.shape)) for o in scorer.outputs] == [
        ("scores", "FP64", [-1]),
        ("gradients", "FP32", [-1, 3, -1, -1]),
    ]
    ready = [
        served.call("ModelReady", name=name, version=version).ready
        for name, version in (("x4", ""), ("x4", "1"), ("x4", "3"), ("none", ""))
    ]
    assert ready == [True, True, False, False]
    with pytest.raises(UnknownName, match="there is no model 'none'"):
        served.call("ModelMetadata", name="none")


def one(**changes: Any) -> Callable[[], dict[str, Any]]:
    """A sound raw request with something changed in its only input."""

    def make() -> dict[str, Any]:
        images = noise(1, 3, 40, 40)
        message = bare(images)
        for key, value in changes.items():
            if key == "shape":
                del message.shape[:]
                message.shape.extend(value)
            else:
                setattr(message, key, value)
        return {"inputs": [message], "raw_input_contents": [images.numpy().tobytes()]}

    return make


def typed_with(kind: str = "FP32", **contents: Any) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        message = bare(torch.zeros(1, 3, 1, 1), kind=kind)
        message.contents.CopyFrom(pb.InferTensorContents(**contents))
        return {"inputs": [message]}

    return make


def twice() -> dict[str, Any]:
    images = noise(1, 3, 40, 40)
    return {"inputs": [bare(images)] * 2, "raw_input_contents": [images.numpy().tobytes()] * 2}


def both() -> dict[str, Any]:
    images = noise(1, 3, 40, 40)
    return {"inputs": [typed(images)], "raw_input_contents": [images.numpy().tobytes()]}


def pointing() -> dict[str, Any]:
    message = bare(noise(1, 3, 40, 40))
    message.parameters["shared_memory_region"].string_param = "/psm_1"
    return {"inputs": [message]}


def not_a_number() -> dict[str, Any]:
    return {"inputs": [typed(torch.full((1, 3, 40, 40), torch.nan))]}


BAD: list[tuple[type[RankSRGANError], str, Callable[[], dict[str, Any]]]] = [
    (InvalidInput, "should have the shape", one(shape=[3, 40, 40])),
    (InvalidInput, "should have the shape", one(shape=[])),
    (InvalidInput, "should have the shape", one(shape=[1, 2, 40, 60])),
    (InvalidInput, "should have the shape", one(shape=[0, 3, 2**62, 2**62])),
    (InvalidInput, "should have the shape", one(shape=[-1, 3, -40, 40])),
    (InvalidInput, "should have the shape", one(shape=[1] * 100_000)),
    (InvalidInput, "bytes for the shape", one(shape=[1, 3, 40, 41])),
    (LimitExceeded, f"{2**62} are too many for one", one(shape=[2**62, 3, 40, 40])),
    (LimitExceeded, "4097 are too many for one", one(shape=[4097, 3, 1, 1])),
    (ImageTooLarge, "at most 4096", one(shape=[1, 3, 2**40, 2**40])),
    (InvalidInput, "'INT64' is none of", one(datatype="INT64")),
    (InvalidInput, "is none of", one(datatype="x" * 1000)),
    (InvalidInput, "'image' is none of images", one(name="image")),
    (InvalidInput, "given twice", twice),
    (InvalidInput, "contents beside raw_input_contents", both),
    (InvalidInput, "raw_input_contents: 2 for 0", lambda: {"raw_input_contents": [b"", b""]}),
    (InvalidInput, "images are missing", dict),
    (InvalidInput, "3 values in fp32_contents; there are 0", typed_with()),
    (InvalidInput, "there are 2", typed_with(fp32_contents=[0, 0])),
    (InvalidInput, "beside others", typed_with(fp32_contents=[0, 0, 0], int_contents=[1])),
    (InvalidInput, "above 255", typed_with(kind="UINT8", uint_contents=[0, 256, 0])),
    (InvalidInput, "raw_input_contents only", typed_with(kind="FP16", fp32_contents=[0, 0, 0])),
    (NotSupported, "shared_memory_region", pointing),
    (InvalidInput, "nan", not_a_number),
]


@pytest.mark.parametrize("model", ["x4", "niqe"])
@pytest.mark.parametrize(("kind", "said", "make"), BAD)
def test_bad_requests_are_told_by_class(
    served: Served,
    model: str,
    kind: type[RankSRGANError],
    said: str,
    make: Callable[[], dict[str, Any]],
) -> None:
    with pytest.raises(kind, match=said) as caught:
        served.call("ModelInfer", model_name=model, **make())
    assert type(caught.value) is kind
    assert len(str(caught.value)) < 600


def test_other_refusals(served: Served) -> None:
    images = noise(1, 3, 40, 40)
    with pytest.raises(InvalidInput, match="'depth' is none of images"):
        served.infer("x4", typed(images), outputs=asked("depth"))
    with pytest.raises(InvalidInput, match="'references' is none of images"):
        served.infer("x4", typed(images), typed(images, "references"))
    with pytest.raises(InvalidInput, match="takes no references"):
        served.infer("niqe", typed(images), typed(images, "references"))
    with pytest.raises(ImageTooSmall):
        served.infer("niqe", typed(noise(1, 3, 8, 8)))
    with pytest.raises(InvalidInput, match="floating point"):
        served.infer("niqe", typed((images * 255).byte(), kind="UINT8"), outputs=asked("gradients"))
    sequence = {"sequence_id": pb.InferParameter(int64_param=1)}
    with pytest.raises(NotSupported, match="sequence_id"):
        served.infer("niqe", typed(images), parameters=sequence)
    for version in ("9", "../1", "x" * 10_000):
        with pytest.raises(UnknownName):
            served.infer("x4", typed(images), model_version=version)
    with pytest.raises(NotSupported, match="config"):
        served.call(
            "RepositoryModelLoad",
            model_name="x4",
            parameters={"config": pb.ModelRepositoryParameter(string_param="{}")},
        )
    with pytest.raises(UnknownName, match="one repository"):
        served.call("RepositoryModelUnload", repository_name="other", model_name="x4")
    with pytest.raises(InvalidInput):
        served.call("RepositoryModelLoad", model_name="../x4")


def test_the_repository_is_for_those_who_manage_it(tmp_path: Path) -> None:
    put_generator(tmp_path, "x4", 1, seed=1)
    settings = RepositorySettings(root=tmp_path)
    models = open_models(settings, upscaler_of, GeneratorUpscaler.named)
    catalog = UpscalerCatalog({}, models)
    server = start_server("127.0.0.1:0", model_servicers(catalog, models, settings, 4096))
    connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
    try:
        stub: Any = open_inference_pb2_grpc.GRPCInferenceServiceStub(connection.channel())
        for method, request in (
            (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
            (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="x4")),
            (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="x4")),
        ):
            with pytest.raises(NotSupported, match="manage"):
                connection.call(method, request)
        assert connection.call(stub.ModelReady, pb.ModelReadyRequest(name="x4")).ready
    finally:
        connection.close()
        server.stop()


def test_errors_carry_the_status_of_the_table(served: Served) -> None:
    request = pb.ModelInferRequest(model_name="none")
    with pytest.raises(grpc.RpcError) as caught:
        served.stub.ModelInfer(request, timeout=PATIENCE)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.skipif(not IMDN.is_file(), reason="needs the test weights")
def test_a_generator_of_another_project() -> None:
    upscaler = open_generator(str(IMDN), {})
    server = start_server("127.0.0.1:0", [InferenceServicer(UpscalerCatalog({"imdn": upscaler}))])
    connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
    try:
        stub: Any = open_inference_pb2_grpc.GRPCInferenceServiceStub(connection.channel())
        images = noise(1, 3, 24, 20)
        request = pb.ModelInferRequest(
            model_name="imdn",
            inputs=[bare(images)],
            raw_input_contents=[images.numpy().tobytes()],
        )
        answer = connection.call(stub.ModelInfer, request)
        assert torch.equal(raw(answer, 0, torch.float32), upscaler.upscale(images))
    finally:
        connection.close()
        server.stop()


@pytest.mark.skipif(not TRITON, reason="RANKSRGAN_TRITON_PYTHON names no Python with tritonclient")
def test_the_public_client_works(served: Served, tmp_path: Path) -> None:
    floats = noise(2, 3, 40, 36)
    inputs = {"float": floats, "bytes": (floats * 255).byte()}
    np.savez(
        tmp_path / "in.npz",
        nan=np.full((1, 3, 40, 40), np.nan, np.float32),
        long=np.zeros((1, 3, 40, 40), np.int64),
        **{name: value.numpy() for name, value in inputs.items()},
    )
    script = Path(__file__).with_name("triton_client.py")
    files = [tmp_path / name for name in ("in.npz", "out.npz", "facts.json")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [str(TRITON), script, served.server.address, *files],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["live"], facts["ready"]) == (True, True)
    assert facts["models"] == [True, True, True, False]
    assert facts["server"]["name"] == "ranksrgan"
    assert facts["upscaler"]["versions"] == ["1", "2"]
    assert [output["name"] for output in facts["scorer"]["outputs"]] == ["scores", "gradients"]
    assert [(m["version"], m["state"]) for m in facts["index"]["models"]] == [
        ("1", "READY"),
        ("2", "READY"),
    ]
    assert facts["response"] == ["x4", "2", "seven"]
    assert (facts["unloaded"], facts["loaded"]) == (False, True)
    statuses = {
        name: status.removeprefix("StatusCode.") for name, (status, _) in facts["errors"].items()
    }
    assert statuses == {
        "unknown": "NOT_FOUND",
        "version": "NOT_FOUND",
        "input": "INVALID_ARGUMENT",
        "nan": "INVALID_ARGUMENT",
        "type": "INVALID_ARGUMENT",
        "classes": "UNIMPLEMENTED",
        "config": "UNIMPLEMENTED",
    }
    found = {name: torch.from_numpy(value) for name, value in np.load(tmp_path / "out.npz").items()}
    for name, images in inputs.items():
        assert torch.equal(found[f"upscaled_{name}"], served.upscaler.upscale(as_float(images)))
        assert torch.equal(found[f"scores_{name}"], served.ranker.score(images))
    scores, gradients = served.ranker.gradient(floats)
    assert torch.equal(found["scores"], scores)
    assert torch.equal(found["gradients"], gradients)
