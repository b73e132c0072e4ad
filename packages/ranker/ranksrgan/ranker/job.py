"""The process of a training that a client has asked for: ``python -m ranksrgan.ranker.job FOLDER``.

The supervisor of ``ranksrgan-ranker serve`` starts it. A training goes on where another process has
left it, and one that is complete already is the result.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint
from ranksrgan.contracts.operations.job_process import JobContext, run_job
from ranksrgan.contracts.ranker_training import (
    RankerValidation,
    TrainedRankerInfo,
    TrainingRequest,
)
from ranksrgan.ranker.evaluate import RankEvaluation
from ranksrgan.ranker.train import TrainResult, train
from ranksrgan.ranker.training_request import RANKERS, Training, open_training


def work(job: JobContext) -> dict[str, Any]:
    """Train what ``job.request``, a `TrainingRequest`, says.

    Returns:
        A `TrainedRankerInfo`, JSON.

    Raises:
        RankSRGANError: see `open_training` and `train`.
    """
    training = open_training(TrainingRequest.model_validate(job.request), job.root)
    result = _train(job, training)
    info, kept = training.learn.info, result.evaluation
    trained = TrainedRankerInfo(
        name=job.target,
        metric=info.metric,
        higher_is_better=info.higher_is_better,
        step=result.step,
        best_step=result.best_step,
        validation=None if kept is None else _validation(result.best_step, kept),
        parameters_hash=load_weights(result.weights).sha256,
    )
    return trained.model_dump()


def _train(job: JobContext, training: Training) -> TrainResult:
    folder = job.root.place(job.target, RANKERS, "ranker_id")
    steps = training.config.steps
    facts: dict[str, Any] = {"loss": None, "best": None}

    def on_best(step: int, found: RankEvaluation) -> None:
        facts["best"] = _validation(step, found).model_dump()

    def on_step(step: int, loss: float) -> None:
        facts["loss"] = loss
        job.report(step, steps, **facts)

    try:
        result = train(*training, folder, on_step=on_step, on_best=on_best)
    except InvalidCheckpoint as error:
        raise InvalidCheckpoint(
            f"ranker_id: {job.target} is there and cannot be continued: {error.message}",
            field="ranker_id",
        ) from error
    job.report(result.step, steps, **facts)  # where nothing was left to do, the first report
    return result


def _validation(step: int, found: RankEvaluation) -> RankerValidation:
    return RankerValidation(
        step=step,
        srocc=found.srocc,
        srocc_per_content=found.srocc_per_content,
        pair_accuracy=found.pair_accuracy,
    )


if __name__ == "__main__":
    raise SystemExit(run_job(Path(sys.argv[1]), work))
