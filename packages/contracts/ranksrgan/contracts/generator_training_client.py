"""A ``GeneratorTrainingService`` to ask for generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranksrgan.contracts.connection import Connection
from ranksrgan.contracts.operations_client import RemoteOperation
from ranksrgan.contracts.v1 import generator_training_pb2, generator_training_pb2_grpc


class GeneratorTrainingClient:
    """The trainings of a server.

    Args:
        address: ``HOST:PORT`` or ``unix:PATH``.
        timeout: seconds that one call may take.
        retry_for: seconds of patience while nobody answers or the server is full, at each call.
    """

    def __init__(self, address: str, *, timeout: float = 60.0, retry_for: float = 0.0) -> None:
        self._connection = Connection(address, timeout=timeout, retry_for=retry_for)

    def train(
        self, generator_id: str, config: Mapping[str, Any], *, request_id: str = ""
    ) -> RemoteOperation:
        """Have ``generators/GENERATOR_ID`` trained; the work needs no client to go on.

        Args:
            generator_id: letters, digits, ``.``, ``_`` and ``-``. A generator that is there is
                continued.
            config: keys and values of the training's configuration, JSON. Folders, weights and
                Rankers are names of the server's (``images/faces``, ``generators/srgan``,
                ``rankers/niqe``).
            request_id: repeating a request with it gives the same operation. With patience
                (``retry_for``) a request may be repeated unseen: give one then.

        Raises:
            InvalidInput: what is asked for cannot be, or is being made already; ``field`` says
                which field of the request or key of the configuration.
            UnknownName: it names something that is not there.
            ServiceUnavailable: nobody answers.
        """
        request = generator_training_pb2.TrainGeneratorRequest(
            generator_id=generator_id, request_id=request_id
        )
        request.config.update(dict(config))
        stub = generator_training_pb2_grpc.GeneratorTrainingServiceStub(self._connection.channel())
        return RemoteOperation(
            self._connection, self._connection.call(stub.TrainGenerator, request)
        )

    def close(self) -> None:
        """Close the connection, that of the operations too; the work goes on."""
        self._connection.close()
