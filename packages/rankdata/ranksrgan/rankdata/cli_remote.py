"""``ranksrgan-rankdata remote``: have a server build datasets, and see what it has."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ranksrgan.contracts.console import add_settings
from ranksrgan.contracts.data_root import id_in
from ranksrgan.contracts.follow import (
    PATIENCE,
    JobView,
    Progress,
    add_actions,
    add_address,
    add_wanted,
    follow,
    wanted_id,
)
from ranksrgan.contracts.pairs import RankDatasetInfo
from ranksrgan.rankdata.config import load_recipe, recipe_names

_BUILD_EPILOG = """folders and models are names of the server's:
  hr=images/NAME, levels.LEVEL=images/NAME, levels.LEVEL=models/NAME, levels.LEVEL=generators/NAME,
  a shipped generator (levels.LEVEL=srgan), or what its operator named

The build needs this command no longer than it takes to ask for it."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("remote", help="have a server build datasets, see what it has")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    build = actions.add_parser(
        "build",
        help="ask for a dataset and watch it",
        epilog=_BUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_wanted(build, "datasets", "a new one")
    build.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"{', '.join(recipe_names())}, or a .yaml file",
    )
    add_settings(build, "overrides", "as in crop=200")
    build.set_defaults(command=_build)
    add_actions(actions, VIEW, "a build")
    listing = actions.add_parser("list", help="the complete datasets")
    add_address(listing)
    listing.set_defaults(command=_list)
    get = actions.add_parser("get", help="the facts of one")
    add_address(get)
    get.add_argument("dataset", metavar="datasets/NAME", help="as list shows it")
    get.set_defaults(command=_get)


def _build(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.clients.rank_data import RankDataClient
    from ranksrgan.rankdata.given_objects import with_objects

    dataset_id = wanted_id(arguments)
    # The output is the server's matter; the configuration cannot be without one. JSON, lest YAML
    # take a name like 2024 for a number.
    overrides = [*arguments.overrides, f"output={json.dumps(dataset_id)}"]
    config = with_objects(load_recipe(arguments.recipe, overrides))  # a service is given none
    wanted = config.model_dump(mode="json", exclude={"output"}, exclude_unset=True)
    wanted["levels"] = [f"{name}={spec}" for name, spec in config.levels.items()]
    client = RankDataClient(arguments.at, retry_for=PATIENCE)
    return follow(client.build(dataset_id, wanted), VIEW)


def _list(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.clients.rank_data import RankDataClient

    for info in RankDataClient(arguments.address).infos():
        print(f"{info.name:<32}  {_crops(info)}, {info.metric}")
    return 0


def _get(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.clients.rank_data import RankDataClient

    info = RankDataClient(arguments.address).info(id_in(arguments.dataset, "datasets", "dataset"))
    for key, value in info.model_dump(mode="json").items():
        print(f"{key}: {_text(value)}")
    return 0


#: How these jobs are shown, here and where a pipeline asks for them.
VIEW = JobView(
    unit="level",
    progress=lambda made: Progress(made.steps_done, made.steps_total, made.source),
    result=lambda made: (
        f"{made.name}: {sum(made.contents.values())} crops, {', '.join(made.levels)}"
    ),
    program="ranksrgan-rankdata",
)


def _crops(info: RankDatasetInfo) -> str:
    return ", ".join(f"{count} crops in {split}" for split, count in info.contents.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
    return ", ".join(value) if isinstance(value, list) else str(value)
