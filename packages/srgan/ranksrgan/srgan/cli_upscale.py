"""``ranksrgan-srgan upscale``: enlarge files and folders."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from ranksrgan.contracts import atomic, cancellation, heaps
from ranksrgan.contracts.console import whole_number
from ranksrgan.contracts.errors import InvalidInput, RequestCancelled
from ranksrgan.contracts.images import MAX_PIXELS
from ranksrgan.contracts.interruption import stop_requested
from ranksrgan.contracts.outputs import check_output
from ranksrgan.contracts.specs import WEIGHTS_SUFFIXES
from ranksrgan.srgan.shipped import DEFAULT, SHIPPED

if TYPE_CHECKING:
    from ranksrgan.contracts.upscaler import Upscaler
    from ranksrgan.srgan.upscaling.batch import Report
    from ranksrgan.srgan.upscaling.files import Plan

log = logging.getLogger(__name__)

# The options of weights that run here; the command and the model's spec call them the same.
_MODEL_OPTIONS = ("device", "memory", "tile", "precision")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; `run` does it."""
    parser = subparsers.add_parser(
        "upscale",
        help="enlarge images",
        description=(
            "Enlarge image files, and the images in folders and the folders below. Transparency, "
            "grey, 16 bits, EXIF and ICC profile are kept; a large image is tiled without seams "
            "and written in strips. A file that fails is reported and the others go on; the exit "
            "code is 1 then."
        ),
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="folder, or with a single file the name of the result; with a / at its end it is a "
        "folder, whatever its name looks like",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT,
        metavar="SPEC",
        help="a shipped model (ranksrgan-srgan models lists them), a weights file, bicubic, or a "
        "service: grpc://HOST:PORT/NAME, unix:///PATH.sock/NAME (default: %(default)s)",
    )
    _add_model_options(parser.add_argument_group("weights that run here"))
    _add_result_options(parser.add_argument_group("results"))
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write what became of each input, sizes and seconds, as JSON",
    )
    parser.add_argument(
        "--max-pixels",
        type=whole_number(1),
        default=MAX_PIXELS,
        metavar="N",
        help="largest input that is read, in pixels (default %(default)s)",
    )
    parser.set_defaults(usage_error=parser.error)


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", help="cpu (default), auto, cuda, cuda:1")
    group.add_argument(
        "--tile",
        type=whole_number(1),
        metavar="N",
        help="longest side of a tile in input pixels (default: as large as --memory allows)",
    )
    group.add_argument(
        "--memory",
        type=_memory,
        metavar="SIZE",
        help="for feature maps and activations: 2GiB, 512MiB, or a number of MiB "
        "(default 1GiB; on a GPU a quarter of what is free)",
    )
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="auto: 16 bits where they are fast (float16 on a GPU, bfloat16 on a CPU that "
        "multiplies it) and give the same picture, else float32, by Winograd's convolutions where "
        "they are fast (default: float32)",
    )


def _add_result_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--self-ensemble",
        action="store_true",
        help="the mean of eight enlargements, flipped and turned: eight times the work",
    )
    group.add_argument(
        "--back-projection",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="steps towards a result that shrinks to its input (default %(default)s)",
    )
    group.add_argument(
        "--out-scale",
        type=_scale,
        metavar="S",
        help="side of a result over that of its input, up to two decimals; what the model makes "
        "is resized to it (default: the model's scale)",
    )
    group.add_argument(
        "--format",
        choices=("keep", "png", "jpg", "webp", "tif"),
        default="keep",
        help="of the results (default: that of each input)",
    )
    group.add_argument(
        "--quality",
        type=_quality,
        default=95,
        metavar="1..100",
        help="of JPEG and WebP (default %(default)s)",
    )
    group.add_argument(
        "--suffix", default="", metavar="TEXT", help="added to each name: _x4 makes a_x4.png"
    )
    group.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave results alone that are there already: continues a run that was stopped",
    )


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; 0 if every input has its result, else 1.

    The first SIGTERM or Ctrl-C stops the work between two tiles; what is written stays, and the
    report is written too.

    Raises:
        InvalidInput: the inputs, output and options do not go together, or the report would
            replace an input, the model or a result; nothing was done.
        UnknownName, InvalidCheckpoint, ServiceUnavailable: the model cannot be opened.
        SystemExit: the output's name is neither a result's nor a folder's.
    """
    from ranksrgan.srgan.upscaling.batch import Report, entry_of
    from ranksrgan.srgan.upscaling.files import check_name, plan_files

    started = time.perf_counter()
    try:
        check_name(args.inputs, args.output)
    except InvalidInput as error:
        args.usage_error(f"argument -o/--output: {error}")
    plan = plan_files(
        args.inputs,
        args.output,
        suffix=args.suffix,
        format=args.format,
        skip_existing=args.skip_existing,
    )
    check_output("--report", args.report, [*args.inputs, args.model])
    results = [job.output for job in plan.jobs]
    check_output("--report", args.report, results, what="a result of this run")
    folders = {result.parent for result in results}
    check_output("--report", args.report, folders, what="the folder of the results")
    report = Report([entry_of(failed) for failed in plan.failed])
    heaps.keep_for_pictures()
    stopped = _enlarge(args, plan, _open(args), report)
    content = report.to_json()
    log.info("%(done)d enlarged, %(skipped)d skipped, %(failed)d failed", content)
    if stopped:
        left = len(plan.jobs) + len(plan.failed) - len(report.entries)
        log.error("stopped with %d to do; --skip-existing continues", left)
    if args.report:
        facts = {
            "model": args.model,
            "stopped": stopped,
            "seconds": round(time.perf_counter() - started, 3),
        }
        atomic.write_output(args.report, json.dumps({**facts, **content}, indent=2) + "\n")
    return 1 if report.failed or stopped else 0


def _enlarge(args: argparse.Namespace, plan: Plan, upscaler: Upscaler, report: Report) -> bool:
    """Add an entry for each job; True if the user stopped it before the last."""
    from tqdm import tqdm

    from ranksrgan.srgan.upscaling.batch import Storage, run_jobs

    storage = Storage(
        quality=args.quality,
        skip_existing=args.skip_existing,
        max_pixels=args.max_pixels,
        out_scale=args.out_scale,
    )
    left = len(plan.jobs)
    bar = tqdm(
        total=left,
        unit="image",
        disable=not sys.stderr.isatty(),
        bar_format="{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}, {rate_fmt}]",
    )
    with bar, stop_requested() as stopping, cancellation.scope(lambda: not stopping()):
        for failed in report.failed:
            bar.write(f"failed: {failed.message}", file=sys.stderr)
        try:
            for entry in run_jobs(plan.jobs, upscaler, storage, progress=bar.update):
                report.entries.append(entry)
                if entry.skipped:
                    left -= 1
                    bar.total = left  # no time went into it: the estimate is about the others
                    bar.refresh()
                if entry.error is not None:
                    bar.write(f"failed: {entry.message}", file=sys.stderr)
        except RequestCancelled:
            if not stopping():
                raise
            return True
    return False


def _open(args: argparse.Namespace) -> Upscaler:
    from ranksrgan.contracts import open_upscaler
    from ranksrgan.srgan.upscaling.refine import Refined

    options = {name: getattr(args, name) for name in _MODEL_OPTIONS}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    spec: str = args.model
    name, _, query = spec.partition("?")
    runs_here = name in SHIPPED.names or Path(name).suffix in WEIGHTS_SUFFIXES
    if given and not runs_here:
        flags = (option.partition("=")[0] for option in given)
        raise InvalidInput(
            f"--{', --'.join(flags)}: only weights that run here have that choice; {name} decides "
            "by itself",
            field="model",
        )
    if given:
        spec = f"{name}?{'&'.join(filter(None, [query, *given]))}"
    upscaler = open_upscaler(spec, pinned=True)
    if not (args.self_ensemble or args.back_projection):
        return upscaler  # as it is, since it may work in strips
    return Refined(upscaler, self_ensemble=args.self_ensemble, back_projection=args.back_projection)


def _memory(text: str) -> str:
    from ranksrgan.srgan.upscaling.opening import parse_memory

    try:
        parse_memory(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _quality(text: str) -> int:
    if whole_number(1)(text) > 100:
        raise argparse.ArgumentTypeError(f"{text} is above 100")
    return int(text)


def _scale(text: str) -> Fraction:
    try:
        scale = Fraction(text)
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    if not 0 < scale <= 32 or 100 % scale.denominator:
        raise argparse.ArgumentTypeError(
            f"{text} is not a number above 0, at most 32, with at most two decimals"
        )
    return scale
