"""A ``RankDataService`` to ask for datasets and to look at those that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ranksrgan.contracts import pairs_codec
from ranksrgan.contracts.connection import Connection
from ranksrgan.contracts.operations_client import RemoteOperation
from ranksrgan.contracts.pairs import RankDatasetInfo
from ranksrgan.contracts.v1 import rank_data_pb2, rank_data_pb2_grpc


class RemoteRankData:
    """The rank datasets of a server. What is in one is read through `open_pair_source`.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one call may take.
        retry_for: seconds of patience while nobody answers or the server is full, at each call.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retry_for: float = 0.0) -> None:
        self._connection = Connection(address, timeout=timeout, retry_for=retry_for)

    def build(
        self, dataset_id: str, config: Mapping[str, Any], *, request_id: str = ""
    ) -> RemoteOperation:
        """Have ``datasets/DATASET_ID`` built; the work needs no client to go on.

        Args:
            dataset_id: letters, digits, ``.``, ``_`` and ``-``.
            config: keys and values of the build's configuration, JSON, without its output; levels
                as a list of ``NAME=SPEC``. Folders and models are names of the server's
                (``images/faces``, ``models/srgan``).
            request_id: repeating a request with it gives the same operation. With patience
                (``retry_for``) a request may be repeated unseen: give one then.

        Raises:
            InvalidInput: the configuration cannot be, or names what a client may not.
            UnknownName: it names something that is not there.
            ServiceUnavailable: nobody answers.
        """
        request = rank_data_pb2.BuildRankDatasetRequest(
            dataset_id=dataset_id, request_id=request_id
        )
        request.config.update(dict(config))
        operation = self._connection.call(self._stub().BuildRankDataset, request)
        return RemoteOperation(self._connection, operation)

    def info(self, dataset_id: str) -> RankDatasetInfo:
        """The facts of one dataset.

        Raises:
            UnknownName: there is none of that name.
            InvalidDataset: it is damaged.
            ServiceUnavailable: nobody answers.
        """
        request = rank_data_pb2.GetRankDatasetRequest(dataset=f"datasets/{dataset_id}")
        answer = self._connection.call(self._stub().GetRankDataset, request)
        return pairs_codec.dataset_info_from_proto(answer.dataset)

    def infos(self) -> Iterator[RankDatasetInfo]:
        """The facts of all complete datasets, by name.

        Raises:
            ServiceUnavailable: nobody answers.
        """
        request = rank_data_pb2.ListRankDatasetsRequest()
        while True:
            answer = self._connection.call(self._stub().ListRankDatasets, request)
            yield from map(pairs_codec.dataset_info_from_proto, answer.datasets)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def close(self) -> None:
        """Close the connection; operations that came from here need it too."""
        self._connection.close()

    def _stub(self) -> rank_data_pb2_grpc.RankDataServiceStub:
        return rank_data_pb2_grpc.RankDataServiceStub(self._connection.channel())
