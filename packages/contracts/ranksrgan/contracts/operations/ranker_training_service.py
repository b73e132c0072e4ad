"""``RankerTrainingService``, over anything that trains Rankers as long jobs."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import grpc
from google.longrunning import operations_pb2

from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.operations.servicer import (
    OperationKind,
    OperationsServicer,
    config_from_proto,
    seconds_to_proto,
)
from ranksrgan.contracts.operations.trainings import Trainings
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.ranker_training import (
    RankerValidation,
    TrainedRankerInfo,
    TrainingRequest,
)
from ranksrgan.contracts.v1 import job_pb2, ranker_training_pb2, ranker_training_pb2_grpc
from ranksrgan.contracts.wire.pairs_codec import ties_from_proto


class RankerTrainingServicer(ranker_training_pb2_grpc.RankerTrainingServiceServicer):
    """``RankerTrainingService`` over trainings.

    Args:
        trainings: what trains.
        operations: shows its jobs; knows their kind by `TRAIN_OPERATION`.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.RankerTrainingService"

    def __init__(
        self, trainings: Trainings[TrainingRequest], operations: OperationsServicer
    ) -> None:
        self._trainings = trainings
        self._operations = operations

    def add_to(self, server: grpc.Server) -> None:
        ranker_training_pb2_grpc.add_RankerTrainingServiceServicer_to_server(self, server)

    def TrainRanker(
        self, request: ranker_training_pb2.TrainRankerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        ranker_id = check_id(request.ranker_id, "ranker_id")
        job = self._trainings.submit(ranker_id, _request_from_proto(request), request.request_id)
        return self._operations.operation(job)


def _request_from_proto(request: ranker_training_pb2.TrainRankerRequest) -> TrainingRequest:
    ties = ties_from_proto(request.ties)
    if not 0 <= request.min_gap < math.inf:
        raise InvalidInput(f"min_gap: {request.min_gap} is no gap; 0 or more is", field="min_gap")
    return TrainingRequest(
        dataset=request.dataset,
        split=request.split,
        validation_split=request.validation_split,
        validation_dataset=request.validation_dataset,
        ties=ties,
        min_gap=request.min_gap,
        config=config_from_proto(request.config),
    )


def _metadata(job: JobReport, status: job_pb2.JobStatus) -> ranker_training_pb2.TrainRankerMetadata:
    progress = job.progress
    metadata = ranker_training_pb2.TrainRankerMetadata(
        job=status,
        ranker=job.target,
        step=progress.get("done", 0),
        steps=progress.get("total", 0),
        loss=progress.get("loss"),
        eta=seconds_to_proto(progress.get("eta")),
    )
    if progress.get("best") is not None:
        best = RankerValidation.model_validate(progress["best"])
        metadata.best.CopyFrom(_validation_to_proto(best))
    return metadata


def _response(result: dict[str, Any]) -> ranker_training_pb2.TrainedRanker:
    info = TrainedRankerInfo.model_validate(result)
    trained = ranker_training_pb2.TrainedRanker(
        name=info.name,
        metric=info.metric,
        higher_is_better=info.higher_is_better,
        step=info.step,
        best_step=info.best_step,
        parameters_hash=info.parameters_hash,
    )
    if info.validation is not None:
        trained.validation.CopyFrom(_validation_to_proto(info.validation))
    return trained


def _validation_to_proto(found: RankerValidation) -> ranker_training_pb2.RankerValidation:
    return ranker_training_pb2.RankerValidation(**found.model_dump())


#: A training as an operation: its progress has ``loss`` and, once there is one, ``best``, a
#: `RankerValidation`; its result is a `TrainedRankerInfo`.
TRAIN_OPERATION = OperationKind(metadata=_metadata, response=_response)
