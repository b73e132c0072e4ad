"""``ranksrgan-ranker remote``: have a server train Rankers, and watch it."""

from __future__ import annotations

import argparse
from typing import Any

from ranksrgan.contracts.console import add_settings
from ranksrgan.contracts.follow import (
    PATIENCE,
    JobView,
    Progress,
    add_actions,
    add_wanted,
    follow,
    wanted_id,
)
from ranksrgan.contracts.ranker_training import TrainingRequest
from ranksrgan.ranker.config import load_recipe

_EPILOG = "The training needs this command no longer than it takes to ask for it."


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("remote", help="have a server train Rankers, and watch it")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    train = actions.add_parser(
        "train", help="ask for a Ranker and watch its training", epilog=_EPILOG
    )
    add_wanted(train, "rankers", "one that is there is continued")
    train.add_argument(
        "--data", required=True, metavar="datasets/NAME", help="the server's rank dataset"
    )
    add_training_flags(train)
    train.set_defaults(command=_train)
    add_actions(actions, VIEW, "a training")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add what says how to train, here or at a server."""
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help="paper, as_published, small or nss, or a .yaml file as config.yaml of a run (default: "
        "the paper's, with a penalty on the scores' magnitude)",
    )
    parser.add_argument("--split", default="train", help="to learn from (default: train)")
    parser.add_argument(
        "--val-split",
        default="val",
        help="to choose the best weights by (default: val); none goes without",
    )
    add_settings(parser, "overrides", "such as steps=2000 width=16 lr=3e-4")


def _train(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.clients.ranker_training import RankerTrainingClient

    config = load_recipe(arguments.recipe, arguments.overrides)
    request = TrainingRequest(
        dataset=arguments.data,
        split=arguments.split,
        validation_split="" if arguments.val_split == "none" else arguments.val_split,
        config=config.model_dump(mode="json", exclude_unset=True),
    )
    client = RankerTrainingClient(arguments.at, retry_for=PATIENCE)
    return follow(client.train(wanted_id(arguments), request), VIEW)


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
    program="ranksrgan-ranker",
)
