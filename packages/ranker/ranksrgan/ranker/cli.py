"""``ranksrgan-ranker``: train, evaluate, use and serve Rankers."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranksrgan.contracts import console
from ranksrgan.contracts.config import load_config
from ranksrgan.contracts.discovery import open_pair_source, open_scorer
from ranksrgan.contracts.errors import InvalidInput, LimitExceeded, RankSRGANError
from ranksrgan.contracts.images import list_images, read_image, to_tensor


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return console.run(lambda: int(arguments.command(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ranksrgan-ranker",
        description="The Ranker of RankSRGAN: learns from ordered pairs what a metric would say, "
        "and has a gradient.",
    )
    commands = parser.add_subparsers(required=True, metavar="train|eval|score|serve")

    train = commands.add_parser("train", help="learn from a rank dataset")
    train.add_argument("--data", required=True, metavar="DIR", help="the rank dataset")
    train.add_argument("-o", "--output", required=True, metavar="DIR", type=Path, help="of the run")
    train.add_argument("--config", metavar="FILE", type=Path, help="YAML; see config.yaml of a run")
    train.add_argument("--split", default="train", help="to learn from (default: train)")
    train.add_argument(
        "--val-split",
        default="val",
        help="to choose the best weights by (default: val); none goes without",
    )
    train.add_argument(
        "--restart", action="store_true", help="start anew instead of continuing what is in DIR"
    )
    train.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as in steps=2000 width=16 lr=3e-4"
    )
    train.set_defaults(command=_train)

    evaluate = commands.add_parser("eval", help="agreement with the metric of a rank dataset")
    evaluate.add_argument("--data", required=True, metavar="DIR", help="the rank dataset")
    _add_ranker(evaluate)
    evaluate.add_argument("--split", default="val", help="to evaluate on (default: val)")
    evaluate.add_argument("--format", choices=("table", "json"), default="table")
    evaluate.set_defaults(command=_evaluate)

    score = commands.add_parser("score", help="score images")
    score.add_argument("images", nargs="+", metavar="IMAGE", type=Path, help="files and folders")
    _add_ranker(score)
    score.add_argument("--format", choices=("table", "json", "csv"), default="table")
    score.set_defaults(command=_score)

    serve = commands.add_parser("serve", help="answer Score and ScoreGradient over gRPC")
    serve.add_argument("--listen", required=True, metavar="HOST:PORT|unix:PATH")
    serve.add_argument(
        "--ranker",
        required=True,
        action="append",
        type=_named_path,
        metavar="NAME=PATH",
        help="weights and the name to serve them under; may be repeated",
    )
    serve.add_argument("--workers", type=_positive, default=2, help="requests at a time")
    serve.add_argument("--queue", type=_not_negative, default=16, help="requests that may wait")
    serve.add_argument("--max-pixels", type=_positive, default=2**24, help="of one image")
    serve.add_argument("--max-message-mib", type=_positive, default=64, help="of one request")
    serve.set_defaults(command=_serve)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.config import TrainConfig
    from ranksrgan.ranker.train import train

    config = load_config(TrainConfig, arguments.config, arguments.overrides)
    learn = open_pair_source(arguments.data, split=arguments.split)
    validate = None
    if arguments.val_split != "none":
        validate = open_pair_source(arguments.data, split=arguments.val_split)
    result = train(config, learn, validate, arguments.output, resume=not arguments.restart)
    print(f"{result.weights}: step {result.best_step} of {result.step}")
    if result.evaluation:
        print(_table(_shown(asdict(result.evaluation))))
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.evaluate import evaluate

    source = open_pair_source(arguments.data, split=arguments.split)
    found = evaluate(open_scorer(arguments.ranker), source)
    if arguments.format == "json":
        print(json.dumps({"metric": source.info.metric, **asdict(found)}, indent=2))
    else:
        print(_table(_shown({"metric": source.info.metric, **asdict(found)})))
    return 0


def _score(arguments: argparse.Namespace) -> int:
    scorer = open_scorer(arguments.ranker)
    results: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    paths: list[Path] = []
    for path in arguments.images:
        try:
            paths += list_images(path) if path.is_dir() else [path]
        except InvalidInput as error:
            failed.append(_failure(path, error))
    for path in paths:
        try:
            value = float(scorer.score(to_tensor(read_image(path)))[0])
        except (InvalidInput, LimitExceeded) as error:  # others concern all images alike
            failed.append(_failure(path, error))
        else:
            results.append({"image": str(path), "ranker": value})
    mean = {"ranker": sum(row["ranker"] for row in results) / len(results)} if results else {}
    if arguments.format == "json":
        report = {"results": results, "mean": mean, "failed": failed}
        print(json.dumps(report, indent=2))
    elif arguments.format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, ("image", "ranker"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(results)
        print(text.getvalue(), end="")
    else:
        rows = [(row["image"], f"{row['ranker']:.4f}") for row in results]
        rows += [("mean", f"{value:.4f}") for value in mean.values()]
        print(_table(rows))
        direction = "higher" if scorer.info.higher_is_better else "lower"
        print(f"{direction} is better")
    for failure in failed:
        print(f"failed: {failure['message']}", file=sys.stderr)
    return 1 if failed else 0


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.ranker.server import serve

    return serve(
        arguments.listen,
        dict(arguments.ranker),
        workers=arguments.workers,
        queue=arguments.queue,
        max_pixels=arguments.max_pixels,
        max_message_bytes=arguments.max_message_mib * 2**20,
    )


def _failure(path: Path, error: RankSRGANError) -> dict[str, str]:
    message = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
    return {"image": str(path), "error": error.code, "message": message}


def _add_ranker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ranker",
        required=True,
        metavar="SPEC",
        help="weights (runs/ranker.safetensors?device=cpu) or a service "
        "(unix:///run/ranker.sock/NAME, grpc://HOST:PORT/NAME)",
    )


def _named_path(text: str) -> tuple[str, Path]:
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=PATH")
    return name, Path(path)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1, please")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text}: at least 0, please")
    return value


def _shown(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (key.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
        for key, value in values.items()
    ]


def _table(rows: list[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


if __name__ == "__main__":
    sys.exit(main())
