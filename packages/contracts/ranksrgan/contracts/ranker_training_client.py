"""A ``RankerTrainingService`` to ask for Rankers."""

from __future__ import annotations

from ranksrgan.contracts.connection import Connection
from ranksrgan.contracts.operations_client import RemoteOperation
from ranksrgan.contracts.pairs_codec import ties_to_proto
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.contracts.v1 import ranker_training_pb2, ranker_training_pb2_grpc


class RemoteRankerTraining:
    """The trainings of a server.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one call may take.
        retry_for: seconds of patience while nobody answers or the server is full, at each call.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retry_for: float = 0.0) -> None:
        self._connection = Connection(address, timeout=timeout, retry_for=retry_for)

    def train(
        self, ranker_id: str, request: TrainingRequest, *, request_id: str = ""
    ) -> RemoteOperation:
        """Have ``rankers/RANKER_ID`` trained; the work needs no client to go on.

        Args:
            ranker_id: letters, digits, ``.``, ``_`` and ``-``. A Ranker that is there is continued.
            request: what to learn, and how.
            request_id: repeating a request with it gives the same operation. With patience
                (``retry_for``) a request may be repeated unseen: give one then.

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
            request_id=request_id,
        )
        message.config.update(request.config)
        stub = ranker_training_pb2_grpc.RankerTrainingServiceStub(self._connection.channel())
        return RemoteOperation(self._connection, self._connection.call(stub.TrainRanker, message))

    def close(self) -> None:
        """Close the connection, that of the operations too; the work goes on."""
        self._connection.close()
