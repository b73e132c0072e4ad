"""The command ``ranksrgan-srgan``: train, evaluate, convert, serve and enlarge with generators."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ranksrgan.contracts import console
from ranksrgan.contracts.console import parse, run, whole_number
from ranksrgan.srgan import (
    cli_convert,
    cli_export,
    cli_models,
    cli_noise_pool,
    cli_pack,
    cli_remote,
    cli_upscale,
)
from ranksrgan.srgan.settings import SrganServerSettings

if TYPE_CHECKING:
    from ranksrgan.srgan.config import TrainConfig
    from ranksrgan.srgan.evaluate import Evaluation
    from ranksrgan.srgan.training.train import TrainResult


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module `ranksrgan.contracts.console` for exit codes."""
    arguments = parse(_parser(), argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return run(lambda: command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ranksrgan-srgan",
        description="Train, evaluate, convert, serve and enlarge with generators.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a generator")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    train.add_argument(
        "--restart",
        action="store_true",
        help="remove the training that is in DIR and start anew, instead of continuing it",
    )
    cli_remote.add_training_flags(train)
    train.set_defaults(command=_train)

    cli_pack.add_parser(commands)
    cli_noise_pool.add_parser(commands)

    evaluate = commands.add_parser("eval", help="score generators on HR images")
    evaluate.add_argument(
        "--model",
        required=True,
        nargs="+",
        metavar="SPEC",
        help="shipped model (ranksrgan), weights file, bicubic?scale=4, or a service: "
        "grpc://HOST:PORT/NAME",
    )
    evaluate.add_argument("--hr", required=True, type=Path, metavar="DIR", help="HR images")
    evaluate.add_argument(
        "--border",
        type=whole_number(0),
        metavar="N",
        help="pixels to leave out on every side (default: the scale)",
    )
    evaluate.add_argument(
        "--ranker", metavar="SPEC", help="also score with this Ranker, or any other scorer"
    )
    evaluate.add_argument("--format", choices=("table", "json", "csv"), default="table")
    evaluate.set_defaults(command=_eval)

    cli_upscale.add_parser(commands)
    commands.choices["upscale"].set_defaults(command=cli_upscale.run)

    cli_models.add_parser(commands)
    cli_convert.add_parsers(commands)
    cli_export.add_parser(commands)
    cli_remote.add_parser(commands)

    serve = commands.add_parser(
        "serve",
        help="enlarge images and train over gRPC",
        epilog="with a data root generators are trained into DIR/generators/NAME, from "
        "DIR/images/NAME",
    )
    console.add_named_paths(
        serve,
        "--model",
        "weights to enlarge with (on a GPU 'NAME=PATH?device=cuda&precision=auto'), and the name "
        "that clients use (default: the shipped models)",
        required=False,
        setting="models",
    )
    console.add_named_specs(
        serve,
        "--ranker",
        "a Ranker that clients may train with by name: weights or a service "
        "(grpc://HOST:PORT/NAME), beside those in DIR/rankers/NAME",
        setting="rankers",
    )
    console.add_serve_flags(serve, SrganServerSettings)
    serve.set_defaults(command=_serve)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts.processes import is_first
    from ranksrgan.srgan.config import load_recipe
    from ranksrgan.srgan.training.train import train

    config = load_recipe(arguments.recipe, cli_remote.overrides(arguments))
    result = train(config, arguments.output, resume=not arguments.restart)
    if is_first():
        _print_trained(result, config, arguments.restart)
    return 0 if result.finished else 1


def _print_trained(result: TrainResult, config: TrainConfig, restarted: bool) -> None:
    scores = {name: value for name, value in result.scores.items() if value is not None}
    shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    print(f"{result.generator}: step {result.step}{f', {shown}' if shown else ''}")
    if result.best is not None:
        print(f"{result.best}: best by {config.validation.best}")
    if not result.finished:
        why = f" by a drift alarm: {result.alarms[-1]}" if result.drifted else ""
        again = "the same command without --restart" if restarted else "the same command"
        print(f"stopped early{why}; {again} continues", file=sys.stderr)


def _eval(arguments: argparse.Namespace) -> int:
    from ranksrgan.contracts import open_scorer, open_upscaler
    from ranksrgan.srgan.evaluate import evaluate

    ranker: str | None = arguments.ranker
    scorers = {"ranker": open_scorer(ranker, pinned=True)} if ranker else {}
    evaluations = {}
    for spec in arguments.model:
        upscaler = open_upscaler(spec, pinned=True)
        scale = upscaler.info.scale
        border = scale if arguments.border is None else arguments.border
        evaluations[spec] = evaluate(upscaler, arguments.hr, scale, border, scorers)
    show = {"table": _print_table, "json": _print_json, "csv": _print_csv}[arguments.format]
    show(evaluations)
    return 0


def _print_table(evaluations: dict[str, Evaluation]) -> None:
    names = list(next(iter(evaluations.values())).images[0].scores)
    width = max(map(len, evaluations))
    print(f"{'model':<{width}}", *(f"{name:>9}" for name in names))
    for spec, evaluation in evaluations.items():
        means = [evaluation.mean(name) for name in names]
        cells = [f"{'-' if mean is None else format(mean, '.4f'):>9}" for mean in means]
        print(f"{spec:<{width}}", *cells)
    for spec, evaluation in evaluations.items():
        for name in names:
            if dropped := evaluation.dropped(name):
                print(f"{spec}: {name} has no value for {dropped} of {len(evaluation.images)}")


def _print_json(evaluations: dict[str, Evaluation]) -> None:
    content = {
        spec: {
            "images": [{"image": row.image, **row.scores} for row in evaluation.images],
            "mean": {name: evaluation.mean(name) for name in evaluation.images[0].scores},
        }
        for spec, evaluation in evaluations.items()
    }
    print(json.dumps(content, indent=2))


def _print_csv(evaluations: dict[str, Evaluation]) -> None:
    names = list(next(iter(evaluations.values())).images[0].scores)
    writer = csv.writer(sys.stdout)
    writer.writerow(["model", "image", *names])
    for spec, evaluation in evaluations.items():
        for row in evaluation.images:
            writer.writerow([spec, row.image, *(row.scores[name] for name in names)])


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.srgan.server import serve

    return console.serve(arguments, SrganServerSettings, serve)


if __name__ == "__main__":
    sys.exit(main())
