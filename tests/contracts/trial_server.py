"""A server of trial jobs in a process of its own: ``python -m trial_server ADDRESS DATA_ROOT``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import grpc
from google.longrunning import operations_pb2

from ranksrgan.contracts import rpc
from ranksrgan.contracts.data_root import DataRoot, check_id
from ranksrgan.contracts.operations.servicer import OperationKind, OperationsServicer
from ranksrgan.contracts.operations.supervisor import Supervisor
from ranksrgan.contracts.operations.watched_job import JobReport
from ranksrgan.contracts.rpc import Servicer
from ranksrgan.contracts.serving.settings import ServerSettings
from ranksrgan.contracts.v1 import (
    job_pb2,
    ranker_training_pb2,
    ranker_training_pb2_grpc,
)


def metadata(job: JobReport, status: job_pb2.JobStatus) -> ranker_training_pb2.TrainRankerMetadata:
    return ranker_training_pb2.TrainRankerMetadata(
        job=status,
        ranker=job.target,
        step=job.progress.get("done", 0),
        steps=job.progress.get("total", 0),
        loss=job.progress.get("loss"),
    )


def response(result: dict[str, Any]) -> ranker_training_pb2.TrainedRanker:
    return ranker_training_pb2.TrainedRanker(step=result["count"])


class TrialServicer(ranker_training_pb2_grpc.RankerTrainingServiceServicer):
    """Asked to train a Ranker, it has a trial job do what the configuration says."""

    full_name: ClassVar[str] = "ranksrgan.contracts.v1.RankerTrainingService"

    def __init__(self, jobs: Supervisor, operations: OperationsServicer) -> None:
        self._jobs = jobs
        self._operations = operations

    def add_to(self, server: grpc.Server) -> None:
        ranker_training_pb2_grpc.add_RankerTrainingServiceServicer_to_server(self, server)

    def TrainRanker(
        self, request: ranker_training_pb2.TrainRankerRequest, context: grpc.ServicerContext
    ) -> operations_pb2.Operation:
        target = f"rankers/{check_id(request.ranker_id, 'ranker_id')}"
        wanted = {
            key: int(value) if isinstance(value, float) else value
            for key, value in request.config.items()
        }
        return self._operations.operation(
            self._jobs.submit("Count", target, wanted, request.request_id)
        )


def servicers(jobs: Supervisor) -> list[Servicer]:
    operations = OperationsServicer(jobs, {"Count": OperationKind(metadata, response)})
    return [operations, TrialServicer(jobs, operations)]


def main() -> int:
    address, folder = sys.argv[1:]
    jobs = Supervisor(DataRoot(Path(folder)), "trial", {"Count": "trial_job"})
    services = rpc.Services(servicers(jobs), jobs)
    names = [servicer.full_name for servicer in services.servicers]
    settings = ServerSettings(listen=address, grace=60)
    return rpc.serve(settings, names, lambda observers: services)


if __name__ == "__main__":
    raise SystemExit(main())
