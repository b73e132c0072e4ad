"""``ranksrgan``: the stages, here or at services; demo, reproduction, doctor, assets, the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranksrgan.contracts import console
from ranksrgan.contracts.errors import RankSRGANError
from ranksrgan.pipeline.reproduction.cli import add_reproduce
from ranksrgan.pipeline.web.cli import add_web

if TYPE_CHECKING:
    from ranksrgan.contracts.clients.operations import RemoteOperation
    from ranksrgan.pipeline.assets import Found
    from ranksrgan.pipeline.config import PipelineConfig


#: Where ``deploy/local.sh`` has the services that make something.
LOCAL_ADDRESSES = {
    "rankdata": "127.0.0.1:50054",
    "ranker": "127.0.0.1:50052",
    "srgan": "127.0.0.1:50053",
}


def main(argv: Sequence[str] | None = None) -> int:
    """``ranksrgan``; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="ranksrgan",
        description="Run the stages of RankSRGAN here or at services, and what goes with them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the whole of it on photographs, in minutes")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder of the run")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--deploy", type=Path, help="deploy/local.sh; without it the services are left out"
    )
    demo.add_argument(
        "--from-nothing",
        action="store_true",
        help="train small networks from random weights instead of going on from the shipped ones",
    )
    console.add_settings(demo, "settings", "on top of the demo's pipeline file")
    demo.set_defaults(run=_demo)

    pipeline = commands.add_parser(
        "pipeline", aliases=["run"], help="the stages of a pipeline file, here or at services"
    )
    pipeline.add_argument("pipeline", type=Path, help="a YAML file; see the package's README")
    console.add_settings(pipeline, "settings", "on top of the file")
    pipeline.add_argument(
        "--remote",
        action="store_true",
        help="have services do it; images are images/NAME of their data root",
    )
    for service, address in LOCAL_ADDRESSES.items():
        pipeline.add_argument(
            f"--{service}",
            default=address,
            metavar="ADDRESS",
            help=f"of the {service} service: HOST:PORT or unix:PATH (default: {address})",
        )
    pipeline.set_defaults(run=_pipeline)

    doctor = commands.add_parser("doctor", help="what is installed, in use and missing")
    doctor.set_defaults(run=_doctor)

    assets = commands.add_parser("assets", help="third-party parameters that are not shipped")
    actions = assets.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, where from, and what is here")
    listing.set_defaults(run=_list_assets)
    pull = actions.add_parser("pull", help="download into $RANKSRGAN_ASSETS, or the user's cache")
    pull.add_argument("names", nargs="+", metavar="NAME")
    pull.set_defaults(run=_pull_assets)
    verify = actions.add_parser("verify", help="check the hashes of what is here")
    verify.add_argument("names", nargs="*", metavar="NAME", help="all that are here by default")
    verify.set_defaults(run=_verify_assets)

    add_reproduce(commands)
    add_web(commands)

    arguments = console.parse(parser, argv)
    return console.run(lambda: arguments.run(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.demo import demo_config, run_demo

    config = demo_config(
        arguments.output,
        arguments.seed,
        tuple(arguments.settings),
        from_nothing=arguments.from_nothing,
    )
    run_demo(config, arguments.deploy, print)
    return 0


def _pipeline(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.config import load_config
    from ranksrgan.pipeline.config import PipelineConfig

    config = load_config(PipelineConfig, arguments.pipeline, arguments.settings)
    return _run_remotely(config, arguments) if arguments.remote else _run(config)


def _run(config: PipelineConfig) -> int:
    from ranksrgan.contracts.checkpoint import load_weights
    from ranksrgan.pipeline.demo import summarise
    from ranksrgan.pipeline.stages import run

    outcome = run(config)
    for line in summarise(outcome):
        print(line)
    for stage, path in outcome.weights.items():
        print(f"{stage:<12}  {path}")
        print(_hash_line(load_weights(path).sha256))
    return 0


def _run_remotely(config: PipelineConfig, arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.follow import follow
    from ranksrgan.pipeline.remote import Service, ServiceAddresses, run_remotely
    from ranksrgan.rankdata.cli_remote import VIEW as RANK_DATA
    from ranksrgan.ranker.cli_remote import VIEW as RANKER
    from ranksrgan.srgan.cli_remote import VIEW as GENERATOR

    views = {"rankdata": RANK_DATA, "ranker": RANKER, "srgan": GENERATOR}

    def watch(service: Service, operation: RemoteOperation) -> None:
        if follow(operation, views[service]) != 0:
            raise KeyboardInterrupt  # it has said that the operation goes on

    addresses = ServiceAddresses(arguments.rankdata, arguments.ranker, arguments.srgan)
    made = run_remotely(config, addresses, watch)
    for stage, result in made.items():
        scores = ", ".join(f"{name} {value:.4g}" for name, value in sorted(result.scores.items()))
        print(f"{stage:<12}  {result.name}  {scores}".rstrip())
        if result.parameters_hash:
            print(_hash_line(result.parameters_hash))
    return 0


def _hash_line(parameters_hash: str) -> str:
    """Under the line of a stage: the hash of the weights, of a run here and of one by services."""
    return f"{'':<12}  parameters_hash {parameters_hash}"


def _doctor(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.doctor import examine

    findings = examine()
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = " " if finding.good else "!"
        print(f"{mark} {finding.subject:<{width}}  {finding.state}")
    return 0 if all(finding.good for finding in findings) else 1


def _list_assets(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.assets import ASSETS, asset_folders, present

    width = max(len(name) for name in ASSETS)
    for asset in ASSETS.values():
        print(f"{asset.name:<{width}}  {present(asset) or 'not here'}")
        for line in (f"for {asset.purpose}", asset.file, asset.licence, asset.url):
            print(f"{'':<{width}}    {line}")
    print(f"looked for in {', '.join(str(folder) for folder in asset_folders())}")
    return 0


def _pull_assets(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.assets import pull

    return _each_asset(arguments.names, pull)


def _verify_assets(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.assets import ASSETS, present
    from ranksrgan.pipeline.assets import verify

    here = [name for name, asset in ASSETS.items() if present(asset) is not None]
    if not arguments.names and not here:
        print("no asset is here; see ranksrgan assets list")
    return _each_asset(arguments.names or here, verify)


def _each_asset(names: Sequence[str], work: Callable[[str], Found]) -> int:
    """Do it to each asset, whatever becomes of the others; 1 if something failed."""
    from ranksrgan.contracts.assets import get_asset

    assets = [get_asset(name) for name in dict.fromkeys(names)]  # no work for a misspelt list
    failed = False
    for asset in assets:
        try:
            found = work(asset.name)
        except RankSRGANError as error:
            print(f"error: {asset.name}: {error}", file=sys.stderr)
            failed = True
            continue
        doing = "downloaded" if found.fresh else "here"
        told = "hash verified" if found.checked else f"no hash on record; sha256 {found.sha256()}"
        print(f"{asset.name}: {doing}, {found.path}, {told}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
