"""``ranksrgan web`` and ``ranksrgan web export-votes``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksrgan.contracts import atomic, console, heaps
from ranksrgan.contracts.errors import InvalidDataset, NotSupported, UnknownName
from ranksrgan.contracts.outputs import check_output
from ranksrgan.contracts.some_names import some_names

if TYPE_CHECKING:
    from ranksrgan.pipeline.web.services import Role

_ROLES: tuple[Role, ...] = ("metrics", "srgan", "ranker")

# Where `deploy/local.sh` has them.
_LOCAL: dict[Role, str] = {
    "metrics": "grpc://127.0.0.1:50051",
    "srgan": "grpc://127.0.0.1:50053",
    "ranker": "grpc://127.0.0.1:50052",
}


def add_web(commands: Any) -> None:
    """Add the subcommand to what ``add_subparsers`` returned."""
    web = commands.add_parser(
        "web",
        help="a page that compares models, and studies with voters",
        epilog="Without a service and a study it uses the services that deploy/local.sh has up.",
    )
    web.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT")
    for role in _ROLES:
        web.add_argument(
            f"--{role}", metavar="SERVICE", help="its address: grpc://HOST:PORT or unix:///PATH"
        )
    console.add_named_paths(
        web, "--study", "folders of CONTENT/METHOD.png to vote on", required=False
    )
    web.add_argument(
        "--votes", type=Path, default=Path("votes.sqlite"), help="file (default: votes.sqlite)"
    )
    web.add_argument(
        "--allow-host",
        nargs="+",
        default=[],
        metavar="NAME",
        help="further names that the server is reached by, behind a proxy say",
    )
    number = console.whole_number(1)
    for flag, default, meaning in (
        ("--max-upload-mib", 32, "of one image file"),
        ("--max-pixels", 2**20, "of an image to enlarge; an original may have 16 times as many"),
    ):
        web.add_argument(
            flag, type=number, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )
    web.set_defaults(run=_serve)

    actions = web.add_subparsers(dest="action", title="without serving")
    export = actions.add_parser("export-votes", help="votes as the CSV file that rank data reads")
    export.add_argument("name", help="of the study")
    # Without a default, which would undo a --votes before the action.
    export.add_argument("--votes", type=Path, default=argparse.SUPPRESS, help="as above")
    export.add_argument("-o", "--output", type=Path, help="CSV file (default: standard output)")
    export.add_argument(
        "--images",
        nargs=2,
        type=Path,
        metavar=("STUDY", "FOLDER"),
        help="also copy the study's images to a folder, named as the votes name them, and leave "
        "out the votes on images that are not there",
    )
    export.set_defaults(run=_export_votes)


def _serve(arguments: argparse.Namespace) -> int:
    try:
        from ranksrgan.pipeline.web.app import serve
        from ranksrgan.pipeline.web.comparisons import Limits
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise NotSupported(
            f"the page needs {error.name}: in the checkout, pip install 'packages/pipeline[web]'",
            field="web",
        ) from error
    heaps.keep_for_a_server()
    services = {role: getattr(arguments, role) for role in _ROLES if getattr(arguments, role)}
    return serve(
        arguments.listen,
        services if services or arguments.study else _LOCAL,
        arguments.study,
        arguments.votes,
        hosts=arguments.allow_host,
        limits=Limits(upload_bytes=arguments.max_upload_mib * 2**20, pixels=arguments.max_pixels),
    )


def _export_votes(arguments: argparse.Namespace) -> int:
    from ranksrgan.pipeline.web.study import open_study
    from ranksrgan.pipeline.web.study_results import copy_versions, votes_csv, votes_on_images
    from ranksrgan.pipeline.web.vote_book import VoteBook, files_of

    if not arguments.votes.is_file():
        raise UnknownName(f"there is no file {arguments.votes}", field="votes")
    needed = [*files_of(arguments.votes), *(arguments.images or ())[:1]]
    check_output("-o", arguments.output, needed)
    book = VoteBook(arguments.votes, read_only=True)
    ballots = book.ballots(arguments.name)
    if not ballots:
        raise UnknownName(
            f"{arguments.votes} has no vote of a study {arguments.name}, only of "
            f"{', '.join(book.studies()) or 'none'}",
            field="name",
        )
    study = None
    if arguments.images is not None:
        study = open_study(arguments.name, arguments.images[0])
        given = len(ballots)
        ballots, lacking = votes_on_images(ballots, study)
        if lacking:
            names = [
                f"{content}/{method} ({count} votes)"
                for (content, method), count in sorted(lacking.items())
            ]
            message = (
                f"{given - len(ballots)} of {given} votes are on images that {arguments.images[0]} "
                f"lacks, and left out: {some_names(names, 10)}"
            )
            if not ballots:
                raise InvalidDataset(f"{message}; no vote is left", field=str(arguments.images[0]))
            print(message, file=sys.stderr)
    text = votes_csv(ballots)
    if arguments.output is None:
        sys.stdout.buffer.write(text.encode())  # UTF-8, as in the file, whatever the terminal's
        sys.stdout.buffer.flush()
    else:
        atomic.write_output(arguments.output, text)
        print(f"{arguments.output}: {len(ballots)} votes")
    if study is not None:
        target = arguments.images[1]
        count = copy_versions(study, target)
        print(f"{target}: {count} images", file=sys.stderr)
    return 0
