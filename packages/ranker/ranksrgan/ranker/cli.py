"""``ranksrgan-ranker``: train, evaluate, use and serve Rankers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ranksrgan.contracts import console
from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.outputs import check_output
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.metrics.console import tell
from ranksrgan.metrics.report import FORMATS, References, Report, score_files
from ranksrgan.ranker import cli_eval, cli_remote
from ranksrgan.ranker.ensemble import RankerEnsemble
from ranksrgan.ranker.quality.boosted_training import BOOSTED
from ranksrgan.ranker.quality.models import MODELS
from ranksrgan.ranker.settings import RankerServerSettings
from ranksrgan.ranker.shipped import SHIPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = console.parse(_parser(), argv)
    return console.run(lambda: int(arguments.command(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ranksrgan-ranker",
        description="Train, evaluate, use and serve Rankers, which learn from ordered pairs what a "
        "metric would say, and have a gradient.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="learn from a rank dataset")
    train.add_argument("--data", required=True, metavar="DIR", help="the rank dataset")
    train.add_argument("-o", "--output", required=True, metavar="DIR", type=Path, help="of the run")
    train.add_argument(
        "--begin-from",
        type=Path,
        metavar="FILE|NAME",
        help="a Ranker to begin from, or a shipped one (ranker-niqe); default: random weights",
    )
    train.add_argument(
        "--model",
        metavar="NAME",
        help="a full-reference quality model instead of a Ranker, from images that people have "
        f"judged ({', '.join(sorted([*MODELS, *BOOSTED]))}); DIR may be PIPAL's or TID2013's "
        "folder too, its recipe is small or a file, and its options are options.KEY=VALUE",
    )
    train.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help="published weights (.pth, .safetensors) of the recognition network that a quality "
        "model looks through, in torchvision's or timm's form",
    )
    train.add_argument(
        "--restart",
        action="store_true",
        help="remove the training that is in DIR and start anew, instead of continuing it",
    )
    cli_remote.add_training_flags(train)
    train.set_defaults(command=_train)

    cli_eval.add_commands(commands)
    cli_remote.add_parser(commands)

    convert = commands.add_parser(
        "convert", help="a Ranker's weights, or those of an official .pth, as .safetensors"
    )
    convert.add_argument(
        "input", type=Path, metavar="IN", help=".safetensors, .pth, .pt or ranker-niqe"
    )
    convert.add_argument("output", type=Path, metavar="OUT", help=".safetensors")
    convert.add_argument(
        "--half",
        action="store_true",
        help="kernels in float16, for half the size: how ours is shipped",
    )
    convert.set_defaults(command=_convert)

    score = commands.add_parser("score", help="score images")
    score.add_argument("images", nargs="+", metavar="IMAGE", type=Path, help="files and folders")
    score.add_argument(
        "--ranker",
        action="append",
        metavar="SPEC",
        help="weights (runs/ranker.safetensors?device=cpu), a shipped Ranker, or a service "
        "(unix:///run/ranker.sock/NAME, grpc://HOST:PORT/NAME); several of these flags are an "
        f"ensemble, whose spread is printed too (default: {', '.join(SHIPPED.names)})",
    )
    score.add_argument(
        "--reference",
        type=Path,
        metavar="PATH",
        help="for a quality model, the original: one file for all images, or a folder where it "
        "has the image's name or what that begins with before a _ (suffixes may differ)",
    )
    score.add_argument("--format", choices=("table", "json", "csv"), default="table")
    score.set_defaults(command=_score)

    serve = commands.add_parser(
        "serve",
        help="score, differentiate and train over gRPC",
        epilog="with a data root Rankers are trained into DIR/rankers/NAME, from DIR/datasets/NAME",
    )
    meaning = (
        "weights (PATH?head=ma for one of several heads), and the name that clients use (default: "
        "the shipped Ranker)"
    )
    console.add_named_paths(serve, "--ranker", meaning, required=False, setting="rankers")
    console.add_serve_flags(serve, RankerServerSettings)
    serve.set_defaults(command=_serve)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.config import load_recipe
    from ranksrgan.ranker.train import train

    if arguments.model:
        return _train_quality(arguments)
    if arguments.backbone_weights:
        raise InvalidInput("--backbone-weights is for a --model with a backbone", field="model")
    config = load_recipe(arguments.recipe, arguments.overrides)
    learn = open_pair_source(arguments.data, split=arguments.split)
    validate = None
    if arguments.val_split != "none":
        validate = open_pair_source(arguments.data, split=arguments.val_split)
    result = train(
        config,
        learn,
        validate,
        arguments.output,
        begin_from=arguments.begin_from,
        resume=not arguments.restart,
    )
    print(f"{result.weights}: step {result.best_step} of {result.step}")
    if result.evaluation:
        print(_table(_shown(asdict(result.evaluation))))
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.networks import convert

    check_output("OUT", arguments.output, [arguments.input])
    network = convert(arguments.input, arguments.output, half=arguments.half)
    options = ", ".join(f"{name} {value}" for name, value in network.options.items())
    print(f"{arguments.output}: {network.architecture} ({options})")
    return 0


def _train_quality(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.quality.boosted_training import load_boosted_recipe, train_boosted
    from ranksrgan.ranker.quality.config import load_quality_recipe
    from ranksrgan.ranker.quality.train import train_quality

    if arguments.begin_from is not None:
        raise InvalidInput(
            "--begin-from is for a Ranker; a quality model that is a network starts from another "
            f"one with start={arguments.begin_from}",
            field="begin_from",
        )
    model, recipe, overrides = arguments.model, arguments.recipe, list(arguments.overrides)
    if arguments.backbone_weights:
        overrides.append(f"backbone={arguments.backbone_weights}")
    learn = open_pair_source(arguments.data, split=arguments.split)
    validate = None
    if arguments.val_split != "none":
        validate = open_pair_source(arguments.data, split=arguments.val_split)
    resume = not arguments.restart
    if model in BOOSTED:
        boosted = load_boosted_recipe(model, recipe, overrides)
        result = train_boosted(boosted, learn, validate, arguments.output, resume=resume)
    else:
        config = load_quality_recipe(model, recipe, overrides)
        result = train_quality(config, learn, validate, arguments.output, resume=resume)
    print(f"{result.weights}: step {result.best_step} of {result.step}")
    if result.evaluation:
        shown = {"main": result.evaluation.main, **asdict(result.evaluation)}
        print(_table(_shown(shown)))
    return 0


def _score(arguments: argparse.Namespace) -> int:
    specs: list[str] = arguments.ranker or SHIPPED.names
    rankers = {spec: open_scorer(spec, pinned=True) for spec in specs}
    if len(rankers) < len(specs):
        raise InvalidInput("one Ranker given twice is no ensemble", field="ranker")
    if len(rankers) > 1:
        ensemble = RankerEnsemble(list(rankers.values()))
        _references(arguments.reference, rankers)  # refused: its members look at none
        scorer: Scorer = ensemble
        report = _with_spread(score_files(arguments.images, rankers), ensemble)
    else:
        (scorer,) = rankers.values()
        references = _references(arguments.reference, rankers)
        report = score_files(arguments.images, {"ranker": scorer}, references)
    tell(report.failed, report.untried)
    print(FORMATS[arguments.format](report), end="")
    if arguments.format == "table":
        print(f"{'higher' if scorer.info.higher_is_better else 'lower'} is better")
    return 1 if report.failed else 0


def _references(path: Path | None, rankers: Mapping[str, Scorer]) -> References | None:
    wanting = [spec for spec, ranker in rankers.items() if ranker.info.needs_reference]
    if wanting and path is None:
        raise InvalidInput(
            f"{', '.join(wanting)} compares an image with its original: --reference is needed",
            field="reference",
        )
    if not wanting and path is not None:
        raise InvalidInput(
            f"--reference: {', '.join(rankers)} looks at no original", field="reference"
        )
    return None if path is None else References(path)


def _with_spread(report: Report, ensemble: RankerEnsemble) -> Report:
    """From a column for each member of an ensemble to its score and spread."""
    combined = Report(["ranker", "spread"])
    combined.failed, combined.untried = report.failed, report.untried
    for image, scores in report.results:
        if len(scores) == len(report.metrics):
            column = torch.tensor([list(scores.values())], dtype=torch.float64).T
            score, spread = ensemble.combine(column)
            combined.results.append((image, {"ranker": float(score), "spread": float(spread)}))
    return combined


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.server import serve

    return console.serve(arguments, RankerServerSettings, serve)


def _shown(values: dict[str, Any]) -> list[tuple[str, str]]:
    from ranksrgan.ranker.compare import number

    return [
        (key.replace("_", " "), str(value) if isinstance(value, int) else number(value))
        for key, value in values.items()
    ]


def _table(rows: list[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
