"""``RankDataService``, over anything that holds rank datasets and builds them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar, Protocol

import grpc
from google.longrunning import operations_pb2

from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.errors import InvalidDataset, InvalidInput
from ranksrgan.contracts.operations.servicer import (
    OperationKind,
    OperationsServicer,
    config_from_proto,
    seconds_to_proto,
)
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.pairs import PairSelection, PairSource, RankDatasetInfo, RankedContent
from ranksrgan.contracts.v1 import job_pb2, rank_data_pb2, rank_data_pb2_grpc
from ranksrgan.contracts.wire import pairs_codec

#: Datasets on a page, unless a client asks for fewer.
MAX_PAGE = 100
# Far from where 64 bits end, so that no position of a stream gets there.
_MAX_POSITION = 2**62


class StoredPairs(PairSource, Protocol):
    """A `PairSource` whose images have 8 bits, for several streams at a time."""

    def contents(self, start: int = 0, step: int = 1) -> Iterator[RankedContent]:
        """See `PairSource.contents`; only every ``step``-th content from ``start`` on."""
        ...


class RankDataCatalog(Protocol):
    """The rank datasets behind one service, by name (``"datasets/faces"``)."""

    def infos(self, after: str, limit: int) -> list[RankDatasetInfo]:
        """The first ``limit`` complete datasets whose names come after ``after``, by name."""
        ...

    def info(self, name: str) -> RankDatasetInfo:
        """The facts of one; raises UnknownName, or InvalidDataset if it is damaged."""
        ...

    def open(self, name: str, selection: PairSelection) -> StoredPairs:
        """What is in one; raises as `info`, and InvalidDataset if it has no such split."""
        ...


class DatasetBuilds(Protocol):
    """What makes new datasets, as long jobs."""

    def submit(self, dataset_id: str, config: dict[str, Any], request_id: str) -> JobReport:
        """Have ``datasets/DATASET_ID`` built.

        Raises:
            InvalidInput: the configuration cannot be, or names what a client may not.
            UnknownName: it names something that is not there.
        """
        ...


class RankDataServicer(rank_data_pb2_grpc.RankDataServiceServicer):
    """``RankDataService`` over a catalog and what adds to it.

    Args:
        catalog: the datasets.
        builds: what makes new ones.
        operations: shows its jobs; knows their kind by `BUILD_OPERATION`.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.RankDataService"

    def __init__(
        self, catalog: RankDataCatalog, builds: DatasetBuilds, operations: OperationsServicer
    ) -> None:
        self._catalog = catalog
        self._builds = builds
        self._operations = operations

    def add_to(self, server: grpc.Server) -> None:
        rank_data_pb2_grpc.add_RankDataServiceServicer_to_server(self, server)

    def BuildRankDataset(
        self, request: rank_data_pb2.BuildRankDatasetRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        dataset_id = check_id(request.dataset_id, "dataset_id")
        job = self._builds.submit(dataset_id, config_from_proto(request.config), request.request_id)
        return self._operations.operation(job)

    def GetRankDataset(
        self, request: rank_data_pb2.GetRankDatasetRequest, context: grpc.ServicerContext
    ) -> rank_data_pb2.GetRankDatasetResponse:
        info = self._catalog.info(request.dataset)
        return rank_data_pb2.GetRankDatasetResponse(dataset=pairs_codec.dataset_info_to_proto(info))

    def ListRankDatasets(
        self, request: rank_data_pb2.ListRankDatasetsRequest, context: grpc.ServicerContext
    ) -> rank_data_pb2.ListRankDatasetsResponse:
        if request.page_size < 0:
            raise InvalidInput(
                f"page_size is {request.page_size}; 0 or more is wanted", field="page_size"
            )
        size = min(request.page_size or MAX_PAGE, MAX_PAGE)
        found = self._catalog.infos(request.page_token, size + 1)
        page = found[:size]
        return rank_data_pb2.ListRankDatasetsResponse(
            datasets=[pairs_codec.dataset_info_to_proto(info) for info in page],
            # The last name on the page: datasets may come and go between two pages.
            next_page_token=page[-1].name if len(found) > size else "",
        )

    def DescribePairs(
        self, request: rank_data_pb2.DescribePairsRequest, context: grpc.ServicerContext
    ) -> rank_data_pb2.DescribePairsResponse:
        selection = pairs_codec.selection_from_proto(request)
        return pairs_codec.ranked_info_to_proto(self._catalog.open(request.dataset, selection).info)

    def StreamPairs(
        self, request: rank_data_pb2.StreamPairsRequest, context: grpc.ServicerContext
    ) -> Iterator[rank_data_pb2.StreamPairsResponse]:
        start, step = _place(request.cursor, request.step)
        source = self._open(request)
        pairs = source.pairs(request.seed, start, step)
        for cursor, pair in zip(count(start + step, step), pairs, strict=False):
            yield rank_data_pb2.StreamPairsResponse(
                cursor=cursor, pair=pairs_codec.pair_to_proto(pair)
            )

    def StreamContents(
        self, request: rank_data_pb2.StreamContentsRequest, context: grpc.ServicerContext
    ) -> Iterator[rank_data_pb2.StreamContentsResponse]:
        start, step = _place(request.cursor, request.step)
        source = self._open(request)
        if request.shuffled:
            contents = source.shuffled_contents(request.seed, start, step)
        else:
            contents = source.contents(start, step)
        for cursor, content in zip(count(start + step, step), contents, strict=False):
            yield pairs_codec.content_to_proto(content, cursor)

    def _open(
        self, request: rank_data_pb2.StreamPairsRequest | rank_data_pb2.StreamContentsRequest
    ) -> StoredPairs:
        """What is streamed: of a dataset that was replaced after it was described, nothing."""
        source = self._catalog.open(request.dataset, pairs_codec.selection_from_proto(request))
        if request.fingerprint not in ("", source.info.fingerprint):
            raise InvalidDataset(
                f"{request.dataset} is another dataset than when it was described; open it again",
                field="fingerprint",
            )
        return source


def _build_metadata(
    job: JobReport, status: job_pb2.JobStatus
) -> rank_data_pb2.BuildRankDatasetMetadata:
    progress = job.progress
    return rank_data_pb2.BuildRankDatasetMetadata(
        job=status,
        dataset=job.target,
        steps_done=progress.get("done", 0),
        steps_total=progress.get("total", 0),
        source=progress.get("source", ""),
        eta=seconds_to_proto(progress.get("eta")),
    )


#: A build as an operation: its progress has ``source``, its result is a `RankDatasetInfo`.
BUILD_OPERATION = OperationKind(
    metadata=_build_metadata,
    response=lambda result: pairs_codec.dataset_info_to_proto(
        RankDatasetInfo.model_validate(result)
    ),
)


def _place(cursor: int, step: int) -> tuple[int, int]:
    """Where a stream begins, and its step."""
    if not 0 <= cursor < _MAX_POSITION:
        raise InvalidInput(f"cursor={cursor}: 0 or more is wanted", field="cursor")
    if not 0 <= step < _MAX_POSITION:
        raise InvalidInput(f"step={step}: 1 or more is wanted, or 0 for 1", field="step")
    return cursor, step or 1
