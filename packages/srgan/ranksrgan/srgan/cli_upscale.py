"""``ranksrgan-srgan upscale``: enlarge files and folders."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ranksrgan.contracts import atomic
from ranksrgan.contracts.console import whole_number
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.images import MAX_PIXELS

if TYPE_CHECKING:
    from ranksrgan.contracts.upscaler import Upscaler

log = logging.getLogger(__name__)

_WEIGHTS = (".safetensors", ".pth", ".pt")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand; `run` does it."""
    parser = subparsers.add_parser(
        "upscale",
        help="enlarge images",
        description=(
            "Enlarge image files, and the images directly in folders. Transparency and 16 bits are "
            "kept, a large image is tiled without seams. A file that fails is reported and the "
            "others go on; the exit code is 1 then."
        ),
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder, or with a single file the name of the result",
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="SPEC",
        help="weights file, bicubic, or a service: grpc://HOST:PORT/NAME, unix:///PATH.sock/NAME",
    )
    parser.add_argument("--device", help="where the weights run: cpu (default), cuda, cuda:1")
    parser.add_argument(
        "--tile",
        type=whole_number(1),
        metavar="N",
        help="longest side of a tile in input pixels (default: as large as --memory allows)",
    )
    parser.add_argument(
        "--memory",
        type=whole_number(1),
        metavar="MIB",
        help="for the activations of one tile (default 1024)",
    )
    parser.add_argument(
        "--format",
        choices=("keep", "png", "jpg", "webp", "tif"),
        default="keep",
        help="of the results (default: that of each input)",
    )
    parser.add_argument(
        "--quality",
        type=_quality,
        default=95,
        metavar="1..100",
        help="of JPEG and WebP (default %(default)s)",
    )
    parser.add_argument(
        "--suffix", default="", metavar="TEXT", help="added to each name: _x4 makes a_x4.png"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave results alone that are there already"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write what became of each input, as JSON"
    )
    parser.add_argument(
        "--max-pixels",
        type=whole_number(1),
        default=MAX_PIXELS,
        metavar="N",
        help="largest input that is read, in pixels (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Do what the parsed command line says; 0 if every input has its result, else 1.

    Raises:
        InvalidInput: the inputs, output and options do not go together; nothing was done.
        UnknownName, InvalidCheckpoint, ServiceUnavailable: the model cannot be opened.
    """
    # Heavy imports wait until here, so that --help does not.
    from tqdm import tqdm

    from ranksrgan.srgan.files import Report, plan_files, run_jobs

    plan = plan_files(args.inputs, args.output, suffix=args.suffix, format=args.format)
    entries = run_jobs(
        plan.jobs,
        _open(args),
        quality=args.quality,
        skip_existing=args.skip_existing,
        max_pixels=args.max_pixels,
    )
    report = Report(list(plan.failed))
    with tqdm(total=len(plan.jobs), unit="image", disable=not sys.stderr.isatty()) as bar:
        for failed in plan.failed:
            bar.write(f"failed: {failed.message}", file=sys.stderr)
        for entry in entries:
            report.entries.append(entry)
            bar.update()
            if entry.error is not None:
                bar.write(f"failed: {entry.message}", file=sys.stderr)
    content = report.to_json()
    if args.report:
        atomic.write_text(
            args.report, json.dumps({"model": args.model, **content}, indent=2) + "\n"
        )
    log.info("%(done)d enlarged, %(skipped)d skipped, %(failed)d failed", content)
    return 1 if report.failed else 0


def _open(args: argparse.Namespace) -> Upscaler:
    from ranksrgan.contracts import open_upscaler

    options = {"device": args.device, "tile": args.tile, "memory": args.memory}
    given = [f"{name}={value}" for name, value in options.items() if value is not None]
    spec: str = args.model
    name, _, query = spec.partition("?")
    if given and Path(name).suffix not in _WEIGHTS:
        raise InvalidInput(
            f"--{', --'.join(option.partition('=')[0] for option in given)}: only weights that run "
            f"here have that choice; {name} decides by itself",
            field="model",
        )
    return open_upscaler(f"{name}?{'&'.join(filter(None, [query, *given]))}" if given else spec)


def _quality(text: str) -> int:
    if whole_number(1)(text) > 100:
        raise argparse.ArgumentTypeError(f"{text} is above 100")
    return int(text)
