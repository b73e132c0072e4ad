"""``ModelService`` on real servers: management, and reloads that no request notices."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.checkpoint import hash_tensors
from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.errors import (
    InvalidCheckpoint,
    InvalidInput,
    NotSupported,
    RankSRGANError,
    UnknownName,
)
from ranksrgan.contracts.rpc import ServerLimits
from ranksrgan.contracts.serving.loaded_models import open_models
from ranksrgan.contracts.serving.methods import ADMINISTRATIVE, FROM_MEMORY, LOADING
from ranksrgan.contracts.serving.models import model_servicers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.v1 import (
    model_pb2,
    model_pb2_grpc,
    super_resolution_pb2,
    super_resolution_pb2_grpc,
)
from ranksrgan.contracts.v1.inference import open_inference_pb2
from ranksrgan.contracts.wire import codec
from ranksrgan.ranker import Ranker, RankerCatalog
from ranksrgan.ranker.opening import ranker_of
from ranksrgan.srgan import GeneratorUpscaler, open_generator
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.opening import upscaler_of
from ranksrgan.srgan.upscaling.picture import upscale_picture
from tests.contracts.conftest import StartServer
from tests.contracts.repositories import put_generator, put_ranker
from tests.contracts.served import Serving

IMAGES = torch.rand((1, 3, 9, 7), generator=torch.Generator().manual_seed(0))
PATIENCE = 120.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    put_generator(folder, "x4", 1, seed=1)
    return folder


def serve_generators(
    start: StartServer, root: Path, *, manage: bool = True, limits: ServerLimits | None = None
) -> str:
    settings = RepositorySettings(root=root, manage=manage)
    models = open_models(settings, upscaler_of, GeneratorUpscaler.named)
    assert models is not None
    catalog = UpscalerCatalog({}, models)
    servicer = SuperResolutionServicer(catalog, upscale_picture)
    more = model_servicers(catalog, models, settings, 2**24)
    return start(servicer, *more, limits=limits).address


class Manager:
    """A client of ``ModelService``."""

    def __init__(self, address: str) -> None:
        self._connection = Connection(address, timeout=PATIENCE, retry_for=0)
        self._stub: Any = model_pb2_grpc.ModelServiceStub(self._connection.channel())

    def list(self) -> dict[str, Any]:
        request = model_pb2.ModelServiceListModelsRequest()
        return {m.name: m for m in self._connection.call(self._stub.ListModels, request).models}

    def load(self, model: str) -> Any:
        request = model_pb2.LoadModelRequest(model=model)
        return self._connection.call(self._stub.LoadModel, request).model

    def unload(self, model: str) -> Any:
        request = model_pb2.UnloadModelRequest(model=model)
        return self._connection.call(self._stub.UnloadModel, request).model

    def reload(self, model: str) -> Any:
        request = model_pb2.ReloadModelRequest(model=model)
        return self._connection.call(self._stub.ReloadModel, request).model


def test_the_index_tells_what_serves(start: StartServer, root: Path) -> None:
    put_generator(root, "x2", 3, seed=2, scale=2)
    (root / "x2/4").mkdir()
    (root / "link").symlink_to(root / "x4")
    address = serve_generators(start, root)
    listed = Manager(address).list()
    assert list(listed) == ["link", "x2", "x4"]
    assert "follows no links" in listed["link"].reason
    ready, failed = listed["x2"].versions
    path = root / "x2/3/model.safetensors"
    assert (ready.version, ready.state) == (3, model_pb2.MODEL_STATE_READY)
    assert (ready.scale, ready.architecture) == (2, "srresnet")
    assert ready.size_bytes == path.stat().st_size
    assert ready.parameters_hash == open_generator(str(path), {}).info.parameters_hash
    assert ready.load_time.ToSeconds() > 1.6e9
    assert ready.WhichOneof("kind") == "scale"
    assert (failed.version, failed.state) == (4, model_pb2.MODEL_STATE_FAILED)
    assert "there is no x2/4/model.safetensors" in failed.reason
    assert not failed.HasField("load_time")
    assert str(root) not in str(listed)


def test_rankers_tell_their_direction(start: StartServer, tmp_path: Path) -> None:
    put_ranker(tmp_path, "ma", 1, seed=1, higher_is_better=True)
    settings = RepositorySettings(root=tmp_path, manage=True)
    models = open_models(settings, ranker_of, Ranker.named)
    catalog = RankerCatalog({}, models)
    address = start(
        ScoringServicer(catalog), *model_servicers(catalog, models, settings, 2**24)
    ).address
    (version,) = Manager(address).list()["ma"].versions
    assert version.WhichOneof("kind") == "higher_is_better"
    assert version.higher_is_better
    info = open_scorer(f"grpc://{address}/ma").info
    assert (info.model_version, info.parameters_hash) == ("1", version.parameters_hash)
    assert open_scorer(f"grpc://{address}/ma:1").info.name == "ma:1"


def test_load_unload_and_reload(start: StartServer, root: Path) -> None:
    address = serve_generators(start, root)
    manager = Manager(address)
    upscaler = open_upscaler(f"grpc://{address}/x4")
    assert upscaler.info.model_version == "1"
    first = upscaler.upscale(IMAGES)
    path = put_generator(root, "x4", 2, seed=2)
    assert [version.version for version in manager.load("x4").versions] == [1, 2]
    second = upscaler.upscale(IMAGES)
    assert torch.equal(second, open_generator(str(path), {}).upscale(IMAGES))
    manager.unload("x4:2")
    assert torch.equal(upscaler.upscale(IMAGES), first)
    manager.unload("x4")
    with pytest.raises(UnknownName):
        upscaler.upscale(IMAGES)
    path = put_generator(root, "x4", 1, seed=3)
    manager.load("x4:1")
    assert torch.equal(upscaler.upscale(IMAGES), open_generator(str(path), {}).upscale(IMAGES))


def test_a_failure_is_told_by_class_and_costs_nothing(start: StartServer, root: Path) -> None:
    address = serve_generators(start, root)
    manager = Manager(address)
    upscaler = open_upscaler(f"grpc://{address}/x4")
    before = upscaler.upscale(IMAGES)
    (root / "x4/1/model.safetensors").write_bytes(b"broken")
    with pytest.raises(InvalidCheckpoint, match=r"x4/1/model\.safetensors is damaged") as caught:
        manager.reload("x4")
    assert caught.value.field == "x4/1/model.safetensors"
    assert torch.equal(upscaler.upscale(IMAGES), before)
    (version,) = manager.list()["x4"].versions
    assert version.state == model_pb2.MODEL_STATE_READY
    assert "damaged" in version.reason


@pytest.mark.parametrize("name", ["..", "a/b", "../x4", "x" * 1000, "", "x4:..", "a\0b", "x4:1/2"])
def test_names_that_lead_elsewhere_are_refused(start: StartServer, root: Path, name: str) -> None:
    address = serve_generators(start, root)
    manager = Manager(address)
    for ask in (manager.load, manager.unload, manager.reload):
        with pytest.raises(InvalidInput):
            ask(name)
    with pytest.raises(UnknownName):
        manager.load("other")


def test_management_is_off_unless_it_is_wanted(start: StartServer, root: Path) -> None:
    address = serve_generators(start, root, manage=False)
    manager = Manager(address)
    with pytest.raises(NotSupported):
        manager.list()
    with pytest.raises(NotSupported):
        manager.unload("x4")
    assert open_upscaler(f"grpc://{address}/x4").info.scale == 4


def test_every_method_of_management_is_administrative() -> None:
    service = model_pb2.DESCRIPTOR.services_by_name["ModelService"]
    named = {f"/{service.full_name}/{method.name}" for method in service.methods}
    inference = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    named |= {
        f"/{inference.full_name}/{method.name}"
        for method in inference.methods
        if method.name.startswith("Repository")
    }
    assert named == ADMINISTRATIVE
    known = {f"/{inference.full_name}/{method.name}" for method in inference.methods}
    assert known - LOADING - FROM_MEMORY == {"/inference.GRPCInferenceService/ModelInfer"}


def test_a_model_is_loaded_while_the_only_worker_works(
    start: StartServer, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, release = threading.Event(), threading.Event()
    upscale = GeneratorUpscaler.upscale

    def slow(self: GeneratorUpscaler, images: torch.Tensor) -> torch.Tensor:
        if images.shape == IMAGES.shape:
            working.set()
            assert release.wait(PATIENCE)
        return upscale(self, images)

    address = serve_generators(start, root, limits=ServerLimits(workers=1, queue=0))
    before = open_generator(str(root / "x4/1/model.safetensors"), {}).upscale(IMAGES)
    monkeypatch.setattr(GeneratorUpscaler, "upscale", slow)
    results: list[torch.Tensor] = []
    upscaler = open_upscaler(f"grpc://{address}/x4")
    request = threading.Thread(target=lambda: results.append(upscaler.upscale(IMAGES)))
    request.start()
    try:
        assert working.wait(PATIENCE)
        put_generator(root, "x4", 1, seed=2)
        assert Manager(address).reload("x4").versions[0].reason == ""
        Manager(address).unload("x4")
    finally:
        release.set()
        request.join()
    (result,) = results
    assert torch.equal(result, before)  # the version that it began with


def test_reloads_under_load_lose_no_request(start: StartServer, root: Path) -> None:
    """Each answer is that of one version, and in the end all are those of the last one."""
    allowed = {}
    for seed in (1, 2):
        path = put_generator(root.with_name("outside"), "x4", 1, seed=seed)
        allowed[answer_hash(open_generator(str(path), {}).upscale(IMAGES))] = seed
    assert len(allowed) == 2
    address = serve_generators(start, root)
    errors: list[RankSRGANError] = []
    seen: list[int | None] = []
    stop = threading.Event()
    answered = threading.Semaphore(0)

    def ask() -> None:
        upscaler = open_upscaler(f"grpc://{address}/x4")
        while not stop.is_set():
            try:
                seen.append(allowed.get(answer_hash(upscaler.upscale(IMAGES))))
            except RankSRGANError as error:
                errors.append(error)
            answered.release()

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    manager = Manager(address)

    def some_answers() -> None:
        for _ in range(8):
            assert answered.acquire(timeout=PATIENCE)

    try:
        for round_ in range(6):
            some_answers()
            put_generator(root, "x4", 1, seed=1 + (round_ + 1) % 2)
            manager.reload("x4")
        some_answers()
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert errors == []
    assert len(seen) >= 56
    assert set(seen) == {1, 2}
    final = open_upscaler(f"grpc://{address}/x4").upscale(IMAGES)
    assert allowed[answer_hash(final)] == 1


def answer_hash(result: torch.Tensor) -> str:
    return hash_tensors({"result": result})


def test_list_models_names_all_that_can_be_asked_for(start: StartServer, root: Path) -> None:
    put_generator(root, "x4", 2, seed=2)
    address = serve_generators(start, root)
    connection = Connection(address, timeout=PATIENCE, retry_for=0)
    stub: Any = super_resolution_pb2_grpc.SuperResolutionServiceStub(connection.channel())
    answer = connection.call(stub.ListModels, super_resolution_pb2.ListModelsRequest())
    infos = [codec.upscaler_info_from_proto(model) for model in answer.models]
    assert [(info.name, info.model_version) for info in infos] == [("x4", "2"), ("x4:1", "1")]
    assert len({info.parameters_hash for info in infos}) == 2


@pytest.mark.parametrize("service", ["srgan", "ranker"])
def test_the_commands_serve_a_repository(service: str, tmp_path: Path) -> None:
    root, data = tmp_path / "repository", tmp_path / "data"
    data.mkdir()
    put: Callable[..., Path] = put_generator if service == "srgan" else put_ranker
    put(root, "one", 1, seed=1)
    flags = ("--model-repository-root", str(root), "--model-repository-manage")
    flags += ("--model-repository-poll", "3600")
    server = Serving(data, f"ranksrgan.{service}.cli", *flags, environment=os.environ)
    server.start()
    try:
        manager = Manager(server.address)
        put(root, "one", 2, seed=2)
        assert [version.version for version in manager.load("one").versions] == [1, 2]
        spec = f"unix://{server.address.removeprefix('unix:')}/one"
        info = open_upscaler(spec).info if service == "srgan" else open_scorer(spec).info
        assert info.model_version == "2"
    finally:
        server.end()
