"""``ranksrgan-ranker train --at`` and ``operation``: trainings at a service, from the outside."""

from __future__ import annotations

import argparse
import logging
import sys
import uuid
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ranksrgan.contracts.errors import InvalidInput, RequestCancelled
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker.config import load_recipe

if TYPE_CHECKING:
    from ranksrgan.contracts.operations_client import RemoteOperation

#: Seconds between two looks at a training.
_LOOK_EVERY = 1.0

logger = logging.getLogger(__name__)


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``operation``."""
    parser = subparsers.add_parser("operation", help="watch a training at a service, or cancel it")
    parser.add_argument("address", metavar="ADDRESS", help="HOST:PORT or unix:PATH")
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
    service = RemoteRankerTraining(arguments.at, retry_for=30.0)
    return _watch(service.train(ranker_id, request, request_id=str(uuid.uuid4())), arguments.at)


def _operation(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.operations_client import connect_operation

    operation = connect_operation(arguments.address, arguments.name)
    if not arguments.cancel:
        return _watch(operation, arguments.address)
    operation.cancel()
    try:
        return _watch(operation, arguments.address)
    except RequestCancelled:
        sys.stdout.write(f"{operation.name} is cancelled\n")
        return 0


def _watch(operation: RemoteOperation, address: str) -> int:
    """Show how it goes until it is done, and what has come out; the exit code."""
    logger.info("%s at %s", operation.name, address)
    try:
        with tqdm(unit="step", disable=None) as bar:
            best = 0
            while not operation.wait(_LOOK_EVERY):
                best = _show(operation.progress(), bar, best)
            _show(operation.progress(), bar, best)
    except KeyboardInterrupt:
        command = f"ranksrgan-ranker operation {address} {operation.name}"
        sys.stderr.write(
            f"\nthe training goes on; watch it or end it with\n  {command} [--cancel]\n"
        )
        return 130
    trained = operation.result()
    sys.stdout.write(f"{trained.name}: step {trained.best_step} of {trained.step}\n")
    if trained.HasField("validation"):
        sys.stdout.write(_figures(trained.validation).replace(", ", "\n") + "\n")
    return 0


def _show(progress: Any, bar: tqdm[Any], best: int) -> int:
    """Move the bar, and tell of a validation that is better than that of step ``best``."""
    bar.total = progress.steps or None
    if bar.n == 0:
        bar.initial = progress.step  # what others have done says nothing of the pace
    bar.n = progress.step
    if progress.HasField("loss"):
        bar.set_postfix(loss=f"{progress.loss:.4f}", refresh=False)
    bar.refresh()
    if progress.HasField("best") and progress.best.step != best:
        best = progress.best.step
        logger.info("step %d: %s (best so far)", best, _figures(progress.best))
    return best


def _figures(validation: Any) -> str:
    names = ("srocc", "srocc_per_content", "pair_accuracy")
    return ", ".join(
        f"{name} {getattr(validation, name):.4f}"
        for name in names
        if name == "srocc" or validation.HasField(name)
    )
