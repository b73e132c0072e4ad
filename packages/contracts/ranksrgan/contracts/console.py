"""How every command of the project behaves: exit codes, error lines, and the flags they share.

0  all done
1  something failed; what could be done was done, and standard error says what was not
2  the command line was wrong
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from ranksrgan.contracts.errors import RankSRGANError
from ranksrgan.contracts.serving.model_repository import RepositorySettings


def run(main: Callable[[], int]) -> int:
    """Run a command's body; print an expected error as one line instead of a traceback."""
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        return main()
    except RankSRGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def whole_number(least: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number of ``least`` or more."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text} is not a whole number of {least} or more")
        return int(text)

    return number


def add_named_paths(
    parser: argparse.ArgumentParser, flag: str, meaning: str, *, required: bool = True
) -> None:
    """Add ``--flag NAME=PATH [NAME=PATH ...]``, which may be repeated: a dict of paths."""
    _add_named(parser, flag, "PATH", Path, meaning, required=required)


def add_named_specs(parser: argparse.ArgumentParser, flag: str, meaning: str) -> None:
    """Add ``--flag NAME=SPEC [NAME=SPEC ...]``, likewise: a dict of texts, files or addresses."""
    _add_named(parser, flag, "SPEC", str, meaning, required=False)


class ServeOptions(TypedDict):
    """What `add_serve_flags` reads besides the address."""

    workers: int
    queue: int
    max_pixels: int
    max_message_bytes: int


def add_serve_flags(
    parser: argparse.ArgumentParser, *, workers: int = 2, images: bool = True
) -> None:
    """Add the flags that servers take.

    Args:
        parser: of the command.
        workers: the default of ``--workers``.
        images: whether clients send images, which need a limit.
    """
    number, positive = whole_number(0), whole_number(1)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT|unix:PATH")
    flags = [
        ("--workers", positive, workers, "requests worked on at a time"),
        ("--queue", number, 16, "requests that may wait"),
        ("--max-message-mib", positive, 64, "of one request"),
    ]
    if images:
        flags.insert(2, ("--max-pixels", positive, 2**24, "of one image"))
    for flag, kind, default, meaning in flags:
        parser.add_argument(
            flag, type=kind, default=default, metavar="N", help=f"{meaning} (default: {default})"
        )


def serve_options(arguments: argparse.Namespace) -> ServeOptions:
    """The values of `add_serve_flags`, as the ``serve`` functions take them."""
    return {
        "workers": arguments.workers,
        "queue": arguments.queue,
        "max_pixels": arguments.max_pixels,
        "max_message_bytes": arguments.max_message_mib * 2**20,
    }


def add_repository_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a server that offers a model repository."""
    parser.add_argument(
        "--models",
        metavar="ROOT",
        type=Path,
        help="offer ROOT/NAME/VERSION/model.safetensors; the highest VERSION is NAME",
    )
    parser.add_argument(
        "--poll",
        metavar="SECONDS",
        type=whole_number(1),
        help="look at ROOT so often for what is new (default: never)",
    )
    parser.add_argument(
        "--manage-models",
        action="store_true",
        help="let clients load, unload and reload models",
    )


def repository_settings(arguments: argparse.Namespace) -> RepositorySettings:
    """The values of `add_repository_flags`."""
    return RepositorySettings(
        root=arguments.models, poll=arguments.poll, manage=arguments.manage_models
    )


def _add_named(
    parser: argparse.ArgumentParser,
    flag: str,
    what: str,
    kind: Callable[[str], object],
    meaning: str,
    *,
    required: bool,
) -> None:
    class Named(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> None:
            named: dict[str, object] = dict(getattr(namespace, self.dest) or {})
            for text in values if isinstance(values, list) else []:
                name, separator, value = text.partition("=")
                if not (name and separator and value):
                    parser.error(f"{option_string}: {text} is not NAME={what}")
                if name in named:
                    parser.error(f"{option_string}: the name {name} is given twice")
                named[name] = kind(value)
            setattr(namespace, self.dest, named)

    parser.add_argument(
        flag,
        required=required,
        default={},
        nargs="+",
        action=Named,
        metavar=f"NAME={what}",
        help=meaning,
    )
