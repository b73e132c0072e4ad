"""``RankerTrainingService``, over anything that trains Rankers as long jobs."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Protocol

import grpc
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2, json_format

from ranksrgan.contracts.data_root import check_id
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.operations import OperationKind, OperationsServicer
from ranksrgan.contracts.pairs_codec import ties_from_proto
from ranksrgan.contracts.ranker_training import (
    RankerValidation,
    TrainedRankerInfo,
    TrainingRequest,
)
from ranksrgan.contracts.v1 import (
    job_pb2,
    ranker_training_pb2,
    ranker_training_pb2_grpc,
)
from ranksrgan.contracts.watched_job import JobReport

# A configuration is a page of text.
_MAX_REQUEST_BYTES = 2**20


class RankerTrainings(Protocol):
    """What trains Rankers."""

    def submit(self, ranker_id: str, request: TrainingRequest, request_id: str) -> JobReport:
        """Have ``rankers/RANKER_ID`` trained.

        Raises:
            InvalidInput: what is asked for cannot be, or is being made already.
            UnknownName: there is no such dataset.
        """
        ...


class RankerTrainingServicer(ranker_training_pb2_grpc.RankerTrainingServiceServicer):
    """``RankerTrainingService`` over trainings.

    Args:
        trainings: what trains.
        operations: shows its jobs; knows their kind by `TRAIN_OPERATION`.
    """

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.RankerTrainingService"

    def __init__(self, trainings: RankerTrainings, operations: OperationsServicer) -> None:
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
    if request.ByteSize() > _MAX_REQUEST_BYTES:
        raise InvalidInput(f"the request has over {_MAX_REQUEST_BYTES} bytes", field="config")
    ties = ties_from_proto(request.ties)
    if not 0 <= request.min_gap < math.inf:
        raise InvalidInput(f"min_gap: {request.min_gap} is no gap; 0 or more is", field="min_gap")
    try:
        config = json_format.MessageToDict(request.config)
    except (json_format.Error, ValueError) as error:  # NaN, or a value of no kind
        raise InvalidConfig(f"config: {error}", field="config") from error
    return TrainingRequest(
        dataset=request.dataset,
        split=request.split,
        validation_split=request.validation_split,
        validation_dataset=request.validation_dataset,
        ties=ties,
        min_gap=request.min_gap,
        config=config,
    )


def _metadata(job: JobReport, status: job_pb2.JobStatus) -> ranker_training_pb2.TrainRankerMetadata:
    progress = job.progress
    metadata = ranker_training_pb2.TrainRankerMetadata(
        job=status,
        ranker=job.target,
        step=progress.get("done", 0),
        steps=progress.get("total", 0),
        loss=progress.get("loss"),
    )
    if progress.get("best") is not None:
        best = RankerValidation.model_validate(progress["best"])
        metadata.best.CopyFrom(_validation_to_proto(best))
    if progress.get("eta") is not None:
        eta = duration_pb2.Duration()
        eta.FromMilliseconds(round(progress["eta"] * 1000))
        metadata.eta.CopyFrom(eta)
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
