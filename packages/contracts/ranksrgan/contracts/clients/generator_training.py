"""A ``GeneratorTrainingService`` to ask for generators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ranksrgan.contracts.clients.long_work import LongWorkClient
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.v1 import generator_training_pb2, generator_training_pb2_grpc


class GeneratorTrainingClient(LongWorkClient):
    """The trainings of a server; see `LongWorkClient`."""

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
            request_id: repeating a request with it gives the same operation; another one with
                each call if it is empty.

        Raises:
            InvalidInput: what is asked for cannot be, or is being made already; ``field`` says
                which field of the request or key of the configuration.
            UnknownName: it names something that is not there.
            ServiceUnavailable: nobody answers.
        """
        request = generator_training_pb2.TrainGeneratorRequest(generator_id=generator_id)
        request.config.update(dict(config))
        stub = generator_training_pb2_grpc.GeneratorTrainingServiceStub(self._connection.channel())
        return self._ask(stub.TrainGenerator, request, request_id)
