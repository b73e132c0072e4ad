"""``GeneratorTrainingService``, over anything that trains generators as long jobs."""

from __future__ import annotations

from typing import Any, ClassVar

import grpc
from google.longrunning import operations_pb2

from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.generator_training import GeneratorValidation, TrainedGeneratorInfo
from ranksrgan.contracts.operations.servicer import (
    OperationKind,
    OperationsServicer,
    config_from_proto,
    seconds_to_proto,
)
from ranksrgan.contracts.operations.trainings import Trainings
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.v1 import (
    generator_training_pb2,
    generator_training_pb2_grpc,
    job_pb2,
)


class GeneratorTrainingServicer(generator_training_pb2_grpc.GeneratorTrainingServiceServicer):
    """``GeneratorTrainingService`` over trainings.

    Args:
        trainings: what trains; asked with the configuration, JSON.
        operations: shows its jobs; knows their kind by `TRAIN_OPERATION`.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.GeneratorTrainingService"

    def __init__(
        self, trainings: Trainings[dict[str, Any]], operations: OperationsServicer
    ) -> None:
        self._trainings = trainings
        self._operations = operations

    def add_to(self, server: grpc.Server) -> None:
        generator_training_pb2_grpc.add_GeneratorTrainingServiceServicer_to_server(self, server)

    def TrainGenerator(
        self, request: generator_training_pb2.TrainGeneratorRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        generator_id = check_id(request.generator_id, "generator_id")
        config = config_from_proto(request.config)
        return self._operations.operation(
            self._trainings.submit(generator_id, config, request.request_id)
        )


def _metadata(
    job: JobReport, status: job_pb2.JobStatus
) -> generator_training_pb2.TrainGeneratorMetadata:
    progress = job.progress
    return generator_training_pb2.TrainGeneratorMetadata(
        job=status,
        generator=job.target,
        step=progress.get("done", 0),
        steps=progress.get("total", 0),
        losses=progress.get("losses"),
        validation=_validation_to_proto(progress.get("validation")),
        time_per_step=seconds_to_proto(progress.get("pace")),
        eta=seconds_to_proto(progress.get("eta")),
    )


def _response(result: dict[str, Any]) -> generator_training_pb2.TrainedGenerator:
    info = TrainedGeneratorInfo.model_validate(result).model_dump()
    for key in ("validation", "best_validation"):
        info[key] = _validation_to_proto(info[key])
    return generator_training_pb2.TrainedGenerator(**info)


def _validation_to_proto(
    found: dict[str, Any] | None,
) -> generator_training_pb2.GeneratorValidation | None:
    if found is None:
        return None
    checked = GeneratorValidation.model_validate(found)
    return generator_training_pb2.GeneratorValidation(step=checked.step, scores=checked.scores)


#: A training as an operation: its progress has ``losses`` and, once there is one, ``validation``, a
#: `GeneratorValidation`; its result is a `TrainedGeneratorInfo`.
TRAIN_OPERATION = OperationKind(metadata=_metadata, response=_response)
