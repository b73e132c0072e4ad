"""The command ``ranksrgan-metrics``: score images, compare methods, judge predictions, fit models,
list the metrics and serve them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ranksrgan.contracts import atomic, console
from ranksrgan.contracts.assets import get_asset, present
from ranksrgan.contracts.console import run, whole_number
from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.contracts.outputs import check_output
from ranksrgan.contracts.scorer import Scorer
from ranksrgan.contracts.serving.settings import ImageServerSettings
from ranksrgan.contracts.specs import is_remote, is_sum
from ranksrgan.metrics import compare, features
from ranksrgan.metrics.catalog import METRICS, MetricCatalog, assets_of, open_name
from ranksrgan.metrics.console import tell
from ranksrgan.metrics.fit_niqe import fit_niqe
from ranksrgan.metrics.flagged import FlaggedScorers
from ranksrgan.metrics.full_reference import CHANNELS
from ranksrgan.metrics.fused import parse_terms
from ranksrgan.metrics.luma import CONVENTIONS
from ranksrgan.metrics.ma.fit import fit_ma
from ranksrgan.metrics.protocol import FORMATS as PROTOCOL_FORMATS
from ranksrgan.metrics.protocol import evaluate_files
from ranksrgan.metrics.report import FORMATS, References, score_files

# Flags that a recipe of `compare` stands in the place of.
_CHOSEN_BY_RECIPES = ("metric", "border", "luma", "niqe_model", "ma_model")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module `ranksrgan.contracts.console` for exit codes."""
    arguments = console.parse(_parser(), argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    return run(lambda: command(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ranksrgan-metrics",
        description="Score images, compare methods, judge predictions, fit models, list the "
        "metrics and serve them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    score = commands.add_parser("score", help="score images and folders of images")
    score.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a file or a folder")
    _add_metric_flags(score)
    _add_output_flags(score, tuple(FORMATS))
    score.set_defaults(command=_score, usage_error=score.error)

    versus = commands.add_parser("compare", help="a table of methods by metrics")
    versus.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="one method's results each"
    )
    _add_metric_flags(versus)
    versus.add_argument(
        "--recipe",
        choices=tuple(compare.RECIPES),
        help="metrics, border and channels of a published table, on 8 bits, instead of those flags",
    )
    _add_output_flags(versus, tuple(compare.FORMATS))
    versus.set_defaults(command=_compare, usage_error=versus.error)

    judge = commands.add_parser("protocol", help="judge predictions by opinions, as NTIRE does")
    judge.add_argument("--predictions", required=True, type=Path, metavar="CSV")
    judge.add_argument(
        "--mos", required=True, type=Path, metavar="CSV", help="or PIPAL's labels, or TID2013's"
    )
    judge.add_argument("--column", metavar="NAME", help="of the predictions, if there are several")
    judge.add_argument("--mos-column", metavar="NAME", help="of the opinions, likewise")
    judge.add_argument(
        "--algorithm", metavar="NAME", help="column of the opinions (default: from PIPAL's names)"
    )
    _add_output_flags(judge, tuple(PROTOCOL_FORMATS))
    judge.set_defaults(command=_protocol)

    pristine = commands.add_parser("fit-niqe", help="NIQE's model from a folder of good images")
    pristine.add_argument("images", type=Path, metavar="FOLDER")
    pristine.add_argument(
        "--luma", choices=CONVENTIONS, default="gray", help="default: gray, as the published model"
    )
    pristine.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.json")
    pristine.set_defaults(command=_fit_niqe)

    forests = commands.add_parser("fit-ma", help="Ma's model from images that people have scored")
    forests.add_argument("images", type=Path, metavar="FOLDER")
    forests.add_argument(
        "--scores", type=Path, required=True, metavar="CSV", help="columns image and score"
    )
    forests.add_argument(
        "--border",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="pixels to leave out on every side (default: 0)",
    )
    forests.add_argument("--luma", choices=CONVENTIONS, default="y", help="default: y")
    forests.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="N", help="of the forests (default: 0)"
    )
    forests.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.safetensors")
    forests.set_defaults(command=_fit_ma)

    extract = commands.add_parser("features", help="the features behind a metric")
    extract.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a file or a folder")
    extract.add_argument("--metric", default="niqe", metavar="NAME", help="default: niqe")
    _add_plane_flags(extract, "0")
    _add_output_flags(extract, tuple(features.FORMATS), default="csv")
    extract.set_defaults(command=_features)

    listing = commands.add_parser("list", help="list the metrics")
    listing.set_defaults(command=_list)

    serve = commands.add_parser("serve", help="answer ScoringService and FeatureService over gRPC")
    console.add_serve_flags(serve, ImageServerSettings)
    serve.set_defaults(command=_serve)
    return parser


def _add_metric_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="PATH",
        help="the original: one file for all images, or a folder where it has the image's name or "
        "what that begins with before a _ (suffixes may differ)",
    )
    parser.add_argument(
        "--metric",
        type=lambda text: list(dict.fromkeys(name.strip() for name in text.split(","))),
        metavar="NAME,...",
        help=f"of {', '.join(METRICS)}; with options as in lpips?net=vgg; a service's address, a "
        "Ranker's file; or sums such as niqe+0.4*rmse (default: niqe)",
    )
    _add_plane_flags(parser, "0, or that of --ma-model")
    parser.add_argument(
        "--niqe-model", type=Path, metavar="FILE", help="of fit-niqe (default: the published one)"
    )
    parser.add_argument(
        "--ma-model", type=Path, metavar="FILE", help="of fit-ma (default: the asset ma)"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 or auto")


def _add_plane_flags(parser: argparse.ArgumentParser, border: str) -> None:
    parser.add_argument(
        "--border",
        type=whole_number(0),
        metavar="N",
        help=f"pixels to leave out on every side (default: {border}; tables of x4 use 4)",
    )
    parser.add_argument(
        "--luma",
        choices=CHANNELS,
        help="y: rgb2ycbcr as in PIRM (default); gray: rgb2gray as in the NIQE release; rgb: no "
        "luma but all channels, where a metric has that",
    )


def _add_output_flags(
    parser: argparse.ArgumentParser, formats: tuple[str, ...], default: str = "table"
) -> None:
    parser.add_argument("--format", choices=formats, default=default, help=f"default: {default}")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="default: standard output"
    )


def _score(arguments: argparse.Namespace) -> int:
    scorers, references = _opened(arguments)
    _check_output(arguments, arguments.images)
    report = score_files(
        arguments.images, scorers, references, choose_device(arguments.device, field="--device")
    )
    tell(report.failed, report.untried)
    _write(FORMATS[arguments.format](report), arguments.output)
    return 1 if report.failed else 0


def _compare(arguments: argparse.Namespace) -> int:
    opened = _opened if arguments.recipe is None else _of_recipe
    scorers, references = opened(arguments)
    _check_output(arguments, arguments.folders)
    device = choose_device(arguments.device, field="--device")
    found = compare.compare_folders(
        arguments.folders,
        scorers,
        references,
        device,
        eight_bits=arguments.recipe is not None,
    )
    for method in found.methods:
        tell(method.failed, method.untried)
    _write(compare.FORMATS[arguments.format](found), arguments.output)
    return 1 if any(method.failed for method in found.methods) else 0


def _protocol(arguments: argparse.Namespace) -> int:
    tables = [arguments.predictions, arguments.mos]
    check_output("-o", arguments.output, tables, read={".csv", ".txt"})
    found = evaluate_files(
        arguments.predictions,
        arguments.mos,
        column=arguments.column,
        mos_column=arguments.mos_column,
        algorithm_column=arguments.algorithm,
    )
    _write(PROTOCOL_FORMATS[arguments.format](found), arguments.output)
    return 0


def _features(arguments: argparse.Namespace) -> int:
    scorer = FlaggedScorers(arguments.border, arguments.luma).open(arguments.metric)
    check_output("-o", arguments.output, [*arguments.images, *_files_of(arguments.metric)])
    found, failed = features.extract_files(arguments.images, scorer)
    _write(features.FORMATS[arguments.format](found), arguments.output)
    tell(failed)
    return 1 if failed else 0


def _fit_niqe(arguments: argparse.Namespace) -> int:
    check_output("-o", arguments.output, [arguments.images])
    model = fit_niqe(arguments.images, arguments.luma)
    model.save(arguments.output, source=f"{arguments.images.name}, luma {arguments.luma}")
    print(arguments.output)
    return 0


def _fit_ma(arguments: argparse.Namespace) -> int:
    check_output("-o", arguments.output, [arguments.images, arguments.scores])
    model = fit_ma(
        arguments.images,
        arguments.scores,
        border=arguments.border,
        luma=arguments.luma,
        seed=arguments.seed,
    )
    model.save(arguments.output)
    print(arguments.output)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    lines = [("name", "better", "kind", "range", "smallest", "assets")]
    for info in MetricCatalog().infos():
        assets = [
            name if present(get_asset(name)) else f"{name} (missing)"
            for name in assets_of(info.name)
        ]
        lines.append(
            (
                info.name,
                "higher" if info.higher_is_better else "lower",
                "full reference" if info.needs_reference else "no reference",
                f"{info.lowest:g} to {info.highest:g}",
                str(info.min_side),
                ", ".join(assets) or "none needed",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from ranksrgan.metrics.server import serve

    return console.serve(arguments, ImageServerSettings, serve)


def _opened(arguments: argparse.Namespace) -> tuple[dict[str, Scorer], References | None]:
    flagged = FlaggedScorers(
        arguments.border, arguments.luma, arguments.niqe_model, arguments.ma_model
    )
    try:
        scorers = {name: flagged.open(name) for name in arguments.metric or ["niqe"]}
        flagged.check_models()
    except (UnknownName, InvalidInput) as error:
        arguments.usage_error(f"argument --metric: {error}")
    return scorers, _references(scorers, arguments)


def _of_recipe(arguments: argparse.Namespace) -> tuple[dict[str, Scorer], References | None]:
    given = [name for name in _CHOSEN_BY_RECIPES if getattr(arguments, name) is not None]
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        arguments.usage_error(f"--recipe {arguments.recipe} chooses what is measured: no {flags}")
    columns = compare.RECIPES[arguments.recipe]
    scorers = {column: open_name(name) for column, name in columns.items()}
    return scorers, _references(scorers, arguments)


def _references(scorers: Mapping[str, Scorer], arguments: argparse.Namespace) -> References | None:
    wanting = [name for name, scorer in scorers.items() if scorer.info.needs_reference]
    if wanting and arguments.reference is None:
        arguments.usage_error(f"{', '.join(wanting)}: --reference is needed")
    return References(arguments.reference) if arguments.reference else None


def _check_output(arguments: argparse.Namespace, images: Sequence[Path]) -> None:
    given = (arguments.reference, arguments.niqe_model, arguments.ma_model)
    files = [file for name in arguments.metric or () for file in _files_of(name)]
    check_output("-o", arguments.output, [*images, *filter(None, given), *files])


def _files_of(name: str) -> list[str]:
    """What may be a file in the name of a scorer that opens."""
    if is_remote(name):
        return []
    if Path(name.partition("?")[0]).is_file() or not is_sum(name):
        return [name]
    return [term.name for term in parse_terms(name)]


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        atomic.write_output(output, text)


if __name__ == "__main__":
    sys.exit(main())
