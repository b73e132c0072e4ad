"""A ``RankDataService`` to ask for datasets and to look at those that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ranksrgan.contracts.clients.long_work import LongWorkClient
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.pairs import RankDatasetInfo
from ranksrgan.contracts.v1 import rank_data_pb2, rank_data_pb2_grpc
from ranksrgan.contracts.wire import pairs_codec


class RankDataClient(LongWorkClient):
    """The rank datasets of a server; see `LongWorkClient`.

    What is in one is read through `open_pair_source`.
    """

    def build(
        self, dataset_id: str, config: Mapping[str, Any], *, request_id: str = ""
    ) -> RemoteOperation:
        """Have ``datasets/DATASET_ID`` built; the work needs no client to go on.

        Args:
            dataset_id: letters, digits, ``.``, ``_`` and ``-``.
            config: keys and values of the build's configuration, JSON, without its output; levels
                as a list of ``NAME=SPEC``. Folders and models are names of the server's
                (``images/faces``, ``models/srgan``).
            request_id: repeating a request with it gives the same operation; another one with
                each call if it is empty.

        Raises:
            InvalidInput: the configuration cannot be, or names what a client may not.
            UnknownName: it names something that is not there.
            ServiceUnavailable: nobody answers.
        """
        request = rank_data_pb2.BuildRankDatasetRequest(dataset_id=dataset_id)
        request.config.update(dict(config))
        return self._ask(self._stub().BuildRankDataset, request, request_id)

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

    def _stub(self) -> rank_data_pb2_grpc.RankDataServiceStub:
        return rank_data_pb2_grpc.RankDataServiceStub(self._connection.channel())
