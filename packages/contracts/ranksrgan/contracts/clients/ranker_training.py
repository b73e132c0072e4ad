"""A ``RankerTrainingService`` to ask for Rankers."""

from __future__ import annotations

from ranksrgan.contracts.clients.long_work import LongWorkClient
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.v1 import ranker_training_pb2, ranker_training_pb2_grpc
from ranksrgan.contracts.wire.pairs_codec import ties_to_proto


class RankerTrainingClient(LongWorkClient):
    """The trainings of a server; see `LongWorkClient`."""

    def train(
        self, ranker_id: str, request: TrainingRequest, *, request_id: str = ""
    ) -> RemoteOperation:
        """Have ``rankers/RANKER_ID`` trained; the work needs no client to go on.

        Args:
            ranker_id: letters, digits, ``.``, ``_`` and ``-``. A Ranker that is there is continued.
            request: what to learn, and how.
            request_id: repeating a request with it gives the same operation; another one with
                each call if it is empty.

        Raises:
            InvalidInput: what is asked for cannot be, or is being made already; ``field`` says
                which field of the request or key of the configuration.
            UnknownName: there is no such dataset.
            ServiceUnavailable: nobody answers.
        """
        message = ranker_training_pb2.TrainRankerRequest(
            ranker_id=ranker_id,
            dataset=request.dataset,
            split=request.split,
            validation_split=request.validation_split,
            validation_dataset=request.validation_dataset,
            ties=ties_to_proto(request.ties),
            min_gap=request.min_gap,
        )
        message.config.update(request.config)
        stub = ranker_training_pb2_grpc.RankerTrainingServiceStub(self._connection.channel())
        return self._ask(stub.TrainRanker, message, request_id)
