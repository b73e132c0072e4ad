"""``ranksrgan-srgan remote``: have a server train generators, and watch it."""

from __future__ import annotations

import argparse
import json
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

_EPILOG = """folders, weights and Rankers are names of the server's:
  data.hr=images/NAME, generator.weights=generators/NAME, models/NAME or a shipped one (srgan),
  losses.rank.rankers='[{spec: rankers/NAME}]', a shipped one or a Ranker that its operator named

The training needs this command no longer than it takes to ask for it."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("remote", help="have a server train generators, and watch it")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    train = actions.add_parser(
        "train",
        help="ask for a generator and watch its training",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_wanted(train, "generators", "one that is there is continued")
    add_training_flags(train)
    train.set_defaults(command=_train)
    add_actions(actions, VIEW, "a training")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add what says how to train, here or at a server."""
    parser.add_argument(
        "--recipe",
        required=True,
        metavar="NAME|FILE",
        help="srresnet, srgan, ranksrgan, esrgan or another one of the package (a name that none "
        "has lists them), or a .yaml file",
    )
    parser.add_argument("--hr", metavar="DIR", help="HR images to train on; same as data.hr=DIR")
    parser.add_argument(
        "--val", metavar="DIR", help="HR images to validate on; same as validation.hr=DIR"
    )
    add_settings(parser, "overrides", "such as run.steps=1000 data.crop=96")


def overrides(arguments: argparse.Namespace) -> list[str]:
    """What the flags change in the recipe."""
    folders = {"data.hr": arguments.hr, "validation.hr": arguments.val}
    given = [f"{key}={json.dumps(folder)}" for key, folder in folders.items() if folder]
    return [*given, *arguments.overrides]


def _train(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.clients.generator_training import GeneratorTrainingClient
    from ranksrgan.srgan.config import load_recipe

    generator_id = wanted_id(arguments)
    config = load_recipe(arguments.recipe, overrides(arguments))
    wanted = config.model_dump(mode="json", exclude_unset=True)
    client = GeneratorTrainingClient(arguments.at, retry_for=PATIENCE)
    return follow(client.train(generator_id, wanted), VIEW)


def _progress(metadata: Any) -> Progress:
    return Progress(
        metadata.step,
        metadata.steps,
        note=", ".join(f"{name}={value:.4g}" for name, value in sorted(metadata.losses.items())),
        news=_scores(metadata.validation) if metadata.HasField("validation") else "",
    )


def _result(trained: Any) -> str:
    lines = [f"{trained.name}: step {trained.step}"]
    if trained.HasField("validation"):
        lines = [f"{trained.name}: {_scores(trained.validation)}"]
    if trained.HasField("best_validation"):
        lines.append(f"best: {_scores(trained.best_validation)}")
    return "\n".join(lines)


def _scores(validation: Any) -> str:
    figures = [f"{name} {value:.4g}" for name, value in sorted(validation.scores.items())]
    return ", ".join([f"step {validation.step}", *figures])


#: How these jobs are shown, here and where a pipeline asks for them.
VIEW = JobView(
    unit="step",
    progress=_progress,
    result=_result,
    program="ranksrgan-srgan",
)
