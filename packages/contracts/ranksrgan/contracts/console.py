"""How every command of the project behaves: exit codes, error lines, and the flags they share.

0  all done
1  something failed; what could be done was done, and standard error says what was not
2  the command line was wrong
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from ranksrgan.contracts import heaps
from ranksrgan.contracts.config import dump_yaml
from ranksrgan.contracts.errors import RankSRGANError
from ranksrgan.contracts.serving.settings import ServerSettings, load_settings

S = TypeVar("S", bound=ServerSettings)

# What a write may end with. Those to files are told by `atomic`, with their names.
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

# Where a command's namespace says which of its words are settings.
_SETTINGS = "words that are settings"


def run(main: Callable[[], int]) -> int:
    """Run a command's body; print an expected error as one line instead of a traceback."""
    _open_what_is_closed()
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name or an arrow that the terminal has no letters for is not to cost all the results.
        sys.stdout.reconfigure(errors="backslashreplace")
    heaps.keep_for_a_command()
    try:
        code = main()
        sys.stdout.flush()
        return code
    except RankSRGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None and error.errno not in _OF_OUTPUT:
            raise
        where = error.filename
        if where is None:
            where = "standard output"
            _abandon_output()
        print(f"error: {where}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _open_what_is_closed() -> None:
    """Some who run programs close their output, and Python has no stream for it then."""
    nowhere = os.devnull
    if sys.stdout is None:
        sys.stdout = open(nowhere, "w", encoding="utf-8")  # noqa: SIM115 - for as long as we run
    if sys.stderr is None:
        sys.stderr = open(nowhere, "w", encoding="utf-8")  # noqa: SIM115


def _abandon_output() -> None:
    """Lest Python tries again, at its end, to write what it could not."""
    with suppress(OSError, ValueError):  # one that is no file of the system's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def add_settings(parser: argparse.ArgumentParser, name: str, meaning: str) -> None:
    """Add ``KEY=VALUE ...``, which may stand before, between and after flags: see `parse`.

    Args:
        parser: of the command.
        name: in the namespace: a list of the words, as they were given.
        meaning: for the help.
    """
    parser.add_argument(name, nargs="*", metavar="KEY=VALUE", help=meaning)
    parser.set_defaults(**{_SETTINGS: name})


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """A command line, with ``--version`` and all words of `add_settings`.

    Of those words argparse itself takes one run.

    Args:
        parser: of a command that is called as its package is, or of ``ranksrgan``.
        argv: without the command's name; None: those of this process.

    Raises:
        SystemExit: with 2, after a message, if the command line is wrong.
    """
    parser.add_argument("--version", action="version", version=_version(parser.prog))
    arguments, left = parser.parse_known_args(argv)
    name: str | None = getattr(arguments, _SETTINGS, None)
    if name is not None:
        left = [word for word in left if word != "--"]  # which ends the flags
    unknown = [word for word in left if name is None or word.startswith("-") or "=" not in word]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if name is not None:
        setattr(arguments, name, [*(getattr(arguments, name) or ()), *left])
    return arguments


def _version(command: str) -> str:
    """Of the package of a command; all packages of a checkout have the same."""
    package = {"ranksrgan": "ranksrgan-pipeline"}.get(command, command)
    try:
        return f"{command} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{command}, not installed"


def whole_number(least: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number of ``least`` or more."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text} is not a whole number of {least} or more")
        return int(text)

    return number


def add_named_paths(
    parser: argparse.ArgumentParser,
    flag: str,
    meaning: str,
    *,
    required: bool = True,
    setting: str | None = None,
) -> None:
    """Add ``--flag NAME=PATH [NAME=PATH ...]``, which may be repeated: a dict of paths.

    Args:
        parser: of the command.
        flag: with its dashes.
        meaning: for the help.
        required: whether the command wants it.
        setting: of a server that it gives, see `add_serve_flags`.
    """
    _add_named(parser, flag, "PATH", Path, meaning, required=required, setting=setting)


def add_named_specs(
    parser: argparse.ArgumentParser, flag: str, meaning: str, *, setting: str | None = None
) -> None:
    """Add ``--flag NAME=SPEC [NAME=SPEC ...]``, likewise: a dict of texts, files or addresses."""
    _add_named(parser, flag, "SPEC", str, meaning, required=False, setting=setting)


def add_serve_flags(parser: argparse.ArgumentParser, kind: type[ServerSettings]) -> None:
    """Add the flags of a server's settings; what is not given is left out of the namespace.

    Args:
        parser: of the command.
        kind: the server's settings, which say what there is and the defaults.
    """
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="YAML of the settings; flags go before it"
    )
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="look at the settings and the files they name, print them as YAML, and do not serve",
    )
    number, positive = whole_number(0), whole_number(1)
    flags: list[tuple[str, Callable[[str], object], str, str]] = [
        ("listen", str, "HOST:PORT|unix:PATH", "where; needed, here or in the file"),
        ("workers", positive, "N", "requests worked on at a time"),
        ("queue", number, "N", "requests that may wait"),
        ("max_pixels", positive, "N", "of one image"),
        ("batch_size", positive, "N", "images of several requests joined at most"),
        ("batch_wait", float, "SECONDS", "that work waits for others to join it"),
        ("max_message_mib", positive, "N", "of one request"),
        ("spool", Path, "DIR", "for what streams bring (default: the system's temporary files)"),
        ("spool_mib", positive, "N", "of all that is there"),
        ("grace", float, "SECONDS", "for requests in flight, after SIGTERM"),
        ("tls.certificate", Path, "FILE", "PEM of the server's certificate: encrypt"),
        ("tls.key", Path, "FILE", "PEM of its private key"),
        ("tls.client_ca", Path, "FILE", "PEM of the authorities that sign clients' certificates"),
        ("tokens", Path, "FILE", "of those who may call"),
        ("metrics", str, "HOST:PORT", "a page for Prometheus"),
        ("model_repository.root", Path, "ROOT", "models: ROOT/NAME/VERSION/model.safetensors"),
        ("model_repository.poll", float, "SECONDS", "between looks for what is new there"),
        ("data_root", Path, "DIR", "what is trained or built, and from what"),
        ("trainings", positive, "N", "at a time"),
    ]
    for key, convert, metavar, meaning in flags:
        if key.partition(".")[0] not in kind.model_fields:
            continue
        default = kind.model_fields[key].default if "." not in key else None
        told = f"{meaning} (default: {default})" if isinstance(default, int | float) else meaning
        flag = "--" + key.replace(".", "-").replace("_", "-")
        parser.add_argument(
            flag, dest=key, type=convert, metavar=metavar, help=told, default=argparse.SUPPRESS
        )
    if "model_repository" in kind.model_fields:
        parser.add_argument(
            "--model-repository-manage",
            dest="model_repository.manage",
            action="store_true",
            help="let clients load, unload and reload its models",
            default=argparse.SUPPRESS,
        )
    parser.add_argument(
        "--log-format",
        choices=("json", "text"),
        help="of standard error (default: text)",
        default=argparse.SUPPRESS,
    )


def serve(arguments: argparse.Namespace, kind: type[S], run_server: Callable[[S], int]) -> int:
    """Run a server by the flags of `add_serve_flags`, its ``--config`` and the environment.

    Args:
        arguments: the command line.
        kind: as in `add_serve_flags`.
        run_server: serves until it is told to stop; not called under ``--check-config``.

    Returns:
        2 if the settings are wrong, 0 if ``--check-config`` has found nothing, else what
        ``run_server`` has returned.
    """
    given = {
        key: value
        for key, value in vars(arguments).items()
        if key.partition(".")[0] in kind.model_fields
    }
    try:
        settings = load_settings(kind, arguments.config, os.environ, given)
        if arguments.check_config:
            settings.check()
    except RankSRGANError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.check_config:
        print(dump_yaml(settings), end="")
        return 0
    from ranksrgan.contracts.serving.request_log import log_to_stderr

    log_to_stderr(settings.log_format)
    return run_server(settings)


def _add_named(
    parser: argparse.ArgumentParser,
    flag: str,
    what: str,
    kind: Callable[[str], object],
    meaning: str,
    *,
    required: bool,
    setting: str | None,
) -> None:
    class Named(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> None:
            named: dict[str, object] = dict(getattr(namespace, self.dest, {}))
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
        dest=setting or flag.removeprefix("--"),
        required=required,
        default={} if setting is None else argparse.SUPPRESS,
        nargs="+",
        action=Named,
        metavar=f"NAME={what}",
        help=meaning,
    )
