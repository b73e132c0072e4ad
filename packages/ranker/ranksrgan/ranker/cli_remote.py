"""``ranksrgan-ranker train --at`` and ``operation``: trainings at a service, from the outside."""

from __future__ import annotations

import argparse
import uuid
from typing import Any

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.follow import (
    PATIENCE,
    JobView,
    Progress,
    add_address,
    cancel,
    follow,
)
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker.config import load_recipe


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``operation``."""
    parser = subparsers.add_parser("operation", help="watch a training at a service, or cancel it")
    add_address(parser)
    parser.add_argument("name", metavar="operations/ID")
    parser.add_argument("--cancel", action="store_true", help="end it; its last checkpoint is kept")
    parser.set_defaults(command=_operation)


def train(arguments: argparse.Namespace) -> int:
    """Ask for the Ranker that the flags of ``train`` describe, and watch its training.

    Raises:
        InvalidInput: what does not go with a service; and as `RemoteRankerTraining.train`.
    """
    from ranksrgan.contracts.ranker_training_client import RemoteRankerTraining

    kind, _, ranker_id = str(arguments.output).partition("/")
    if kind != "rankers" or not ranker_id:
        raise InvalidInput(
            f"--output: a service makes rankers/NAME, not {arguments.output}", field="output"
        )
    if arguments.restart:
        raise InvalidInput(
            "--restart: a service continues what it has; choose another name", field="restart"
        )
    config = load_recipe(arguments.recipe, arguments.overrides)
    request = TrainingRequest(
        dataset=arguments.data,
        split=arguments.split,
        validation_split="" if arguments.val_split == "none" else arguments.val_split,
        config=config.model_dump(mode="json", exclude_unset=True),
    )
    service = RemoteRankerTraining(arguments.at, retry_for=PATIENCE)
    return follow(service.train(ranker_id, request, request_id=str(uuid.uuid4())), VIEW)


def _operation(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.operations_client import connect_operation

    operation = connect_operation(arguments.address, arguments.name, retry_for=PATIENCE)
    return cancel(operation) if arguments.cancel else follow(operation, VIEW)


def _progress(metadata: Any) -> Progress:
    best = metadata.best
    return Progress(
        metadata.step,
        metadata.steps,
        note=f"loss={metadata.loss:.4f}" if metadata.HasField("loss") else "",
        news=f"step {best.step}: {', '.join(_figures(best))} (best so far)"
        if metadata.HasField("best")
        else "",
    )


def _result(trained: Any) -> str:
    figures = _figures(trained.validation) if trained.HasField("validation") else []
    return "\n".join([f"{trained.name}: step {trained.best_step} of {trained.step}", *figures])


def _figures(validation: Any) -> list[str]:
    names = ("srocc", "srocc_per_content", "pair_accuracy")
    return [
        f"{name} {getattr(validation, name):.4f}"
        for name in names
        if name == "srocc" or validation.HasField(name)
    ]


#: How these jobs are shown, here and where a pipeline asks for them.
VIEW = JobView(
    unit="step",
    progress=_progress,
    result=_result,
    come_back="ranksrgan-ranker operation {address} {name} [--cancel]",
)
