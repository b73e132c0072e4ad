"""The process of a training that a client has asked for: ``python -m ranksrgan.srgan.job FOLDER``.

The supervisor of ``ranksrgan-srgan serve`` starts it. A training goes on where another process has
left it, and one that is complete already is the result.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.curves import read_curve
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig
from ranksrgan.contracts.generator_training import GeneratorValidation, TrainedGeneratorInfo
from ranksrgan.contracts.operations.job_process import JobContext, run_job
from ranksrgan.srgan.config import TrainConfig
from ranksrgan.srgan.training.state import STATE_FILE
from ranksrgan.srgan.training.train import TrainResult, train
from ranksrgan.srgan.training_request import GENERATORS, read_config


def work(job: JobContext) -> dict[str, Any]:
    """Train what ``job.request`` says: a client's ``config``, and the operator's ``rankers``.

    Returns:
        A `TrainedGeneratorInfo`, JSON.

    Raises:
        RankSRGANError: see `read_config` and `train`.
        KeyboardInterrupt: it was stopped, and has saved its state.
    """
    config = read_config(job.request["config"], job.root, job.request["rankers"])
    result = _train(job, config)
    if not result.finished and not result.drifted:
        raise KeyboardInterrupt
    last = load_weights(result.generator)
    best = load_weights(result.best) if result.best else None
    trained = TrainedGeneratorInfo(
        name=job.target,
        architecture=last.architecture or "",
        scale=config.generator.scale,
        step=result.step,
        parameters_hash=last.sha256,
        validation=GeneratorValidation.of(result.step, result.scores) if result.scores else None,
        best_parameters_hash=best.sha256 if best else "",
        best_validation=GeneratorValidation.of(**best.about) if best else None,
        alarms=result.alarms,
    )
    return trained.model_dump()


def _train(job: JobContext, config: TrainConfig) -> TrainResult:
    folder = job.root.place(job.target, GENERATORS, "generator_id")
    steps = config.run.steps
    facts: dict[str, Any] = {"losses": {}, "validation": _last_validation(folder)}

    def on_step(step: int, losses: Mapping[str, float]) -> None:
        facts["losses"] = dict(losses)
        if facts["validation"] is None or step % config.validation.every == 0 or step == steps:
            facts["validation"] = _last_validation(folder)
        job.report(step, steps, **facts)

    there_already = (folder / STATE_FILE).is_file()
    try:
        result = train(config, folder, on_step=on_step)
    except (InvalidConfig, InvalidCheckpoint) as error:
        if not there_already:
            raise
        raise type(error)(
            f"generator_id: {job.target} is there and cannot be continued: {error.message}",
            field="generator_id",
        ) from error
    job.report(result.step, steps, **facts)  # where nothing was left to do, the first report
    return result


def _last_validation(folder: Path) -> dict[str, Any] | None:
    """The last row of ``validation.csv``, as a `GeneratorValidation`; None before the first."""
    rows = read_curve(folder / "validation.csv")
    if not rows:
        return None
    row = {name: text for name, text in rows[-1].items() if name not in ("step", "drift")}
    found = {name: float(text) if text else None for name, text in row.items()}
    return GeneratorValidation.of(int(rows[-1]["step"]), found).model_dump()


if __name__ == "__main__":
    raise SystemExit(run_job(Path(sys.argv[1]), work))
