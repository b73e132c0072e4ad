"""Datasets by name and in pages, and builds as operations, against a small server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import pytest

from ranksrgan.contracts.clients.rank_data import RankDataClient
from ranksrgan.contracts.errors import (
    InvalidDataset,
    InvalidInput,
    RequestCancelled,
    UnknownName,
)
from ranksrgan.contracts.operations.jobs import JobPhase
from ranksrgan.contracts.operations.rank_data_service import BUILD_OPERATION
from ranksrgan.contracts.operations.servicer import OperationsServicer
from ranksrgan.contracts.rpc import RunningServer, open_channel
from ranksrgan.contracts.v1 import job_pb2, rank_data_pb2, rank_data_pb2_grpc
from tests.contracts.conftest import StartServer
from tests.contracts.rank_data import Builder, Shelf, serving
from tests.contracts.trials import PATIENCE


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def server(start: StartServer, builder: Builder) -> RunningServer:
    return start(serving(Shelf(), builder))


@pytest.fixture
def client(server: RunningServer) -> Iterator[RankDataClient]:
    connected = RankDataClient(server.address, timeout=PATIENCE)
    yield connected
    connected.close()


def test_facts_arrive_as_they_are(client: RankDataClient) -> None:
    assert client.info("b") == Shelf().info("datasets/b")
    with pytest.raises(UnknownName, match="there is no datasets/none") as caught:
        client.info("none")
    assert caught.value.field == "dataset"


def test_the_list_has_pages(server: RunningServer, client: RankDataClient) -> None:
    with open_channel(server.address) as channel:
        stub = rank_data_pb2_grpc.RankDataServiceStub(channel)
        request = rank_data_pb2.ListRankDatasetsRequest(page_size=2)
        pages: list[str] = []
        for _ in range(3):
            page = stub.ListRankDatasets(request, timeout=PATIENCE)
            pages.append("".join(dataset.name[-1] for dataset in page.datasets))
            request.page_token = page.next_page_token
        assert pages == ["ab", "cd", "e"]
        assert not request.page_token
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListRankDatasets(
                rank_data_pb2.ListRankDatasetsRequest(page_size=-1), timeout=PATIENCE
            )
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert list(client.infos()) == [Shelf().info(f"datasets/{letter}") for letter in "abcde"]


def test_a_client_reads_all_pages(start: StartServer) -> None:
    shelf = Shelf()
    shelf.names = [f"datasets/{number:03}" for number in range(250)]
    client = RankDataClient(start(serving(shelf)).address, timeout=PATIENCE)
    assert [info.name for info in client.infos()] == shelf.names


def test_a_build_is_asked_for_as_it_was_said(client: RankDataClient, builder: Builder) -> None:
    config = {"hr": "images/a", "levels": ["z=hr", "a=bicubic"], "crop": 296, "val": 0.25}
    operation = client.build("new", config, request_id="mine")
    assert operation.name == "operations/rankdata-000001-00000000"
    assert builder.requests == [("new", config, "mine")]


def test_each_request_has_an_id_of_its_own(client: RankDataClient, builder: Builder) -> None:
    for _ in range(2):
        client.build("new", {})
    assert len({request_id for _, _, request_id in builder.requests} - {""}) == 2


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a" * 101])
def test_what_is_no_name_of_a_dataset(client: RankDataClient, builder: Builder, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.build(name, {})
    assert caught.value.field == "dataset_id"
    assert builder.requests == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x" * 2**21])
def test_configurations_that_cannot_be(
    client: RankDataClient, builder: Builder, value: object
) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.build("new", {"val": value})
    assert caught.value.field == "config"
    assert builder.requests == []


def test_how_a_build_looks() -> None:
    report = Builder().report
    operations = OperationsServicer(None, {"BuildRankDataset": BUILD_OPERATION})  # type: ignore[arg-type]

    def metadata(**progress: object) -> rank_data_pb2.BuildRankDatasetMetadata:
        found = rank_data_pb2.BuildRankDatasetMetadata()
        assert operations.operation(replace(report, progress=progress)).metadata.Unpack(found)
        return found

    fresh = metadata()
    assert (fresh.dataset, fresh.job.state) == ("datasets/new", job_pb2.JOB_STATE_RUNNING)
    assert fresh.job.start_time.ToDatetime(UTC) == datetime.fromtimestamp(2.5, UTC)
    assert (fresh.steps_done, fresh.steps_total, fresh.source) == (0, 0, "")
    assert not fresh.HasField("eta")
    begun = metadata(done=3, total=12, source="chelsea", eta=90.25)
    assert (begun.steps_done, begun.steps_total, begun.source) == (3, 12, "chelsea")
    assert begun.eta.ToTimedelta().total_seconds() == 90.25
    assert not metadata(done=0, total=12, source="", eta=None).HasField("eta")


def test_how_a_build_ends() -> None:
    report = replace(Builder().report, ended=9.0)
    operations = OperationsServicer(None, {"BuildRankDataset": BUILD_OPERATION})  # type: ignore[arg-type]
    info = Shelf().info("datasets/new")
    done = replace(report, phase=JobPhase.SUCCEEDED, result=info.model_dump(mode="json"))
    response = rank_data_pb2.RankDataset()
    assert operations.operation(done).response.Unpack(response)
    assert response.name == "datasets/new"
    assert response.create_time.ToDatetime(UTC) == info.created
    for error in (InvalidDataset("no crop is left", field="hr"), RequestCancelled("cancelled")):
        failed = operations.operation(replace(report, phase=JobPhase.FAILED, error=error))
        assert failed.done
        assert failed.error.message == str(error)
