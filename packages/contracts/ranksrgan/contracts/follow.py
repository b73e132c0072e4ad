"""A long job at a service, asked for, watched or ended from a command line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from ranksrgan.contracts.data_root import id_in
from ranksrgan.contracts.errors import RequestCancelled

if TYPE_CHECKING:  # gRPC is loaded by the commands that need it
    from ranksrgan.contracts.clients.operations import RemoteOperation

#: Seconds that a server may be away, restarting, before a command gives up.
PATIENCE = 30.0
#: Seconds between two looks at a job.
_LOOK_EVERY = 1.0
_ADDRESS = "HOST:PORT or unix:PATH"

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far a job is, as a person reads it.

    Attributes:
        done, total: of its steps; ``total`` is 0 while nobody knows.
        note: stands beside the bar.
        news: a line of its own whenever it is another one.
    """

    done: int
    total: int
    note: str = ""
    news: str = ""


class JobView(NamedTuple):
    """How jobs of one kind are shown.

    Attributes:
        unit: of their steps.
        progress: from an operation's metadata.
        result: from its response, the lines that say what was made.
        program: whose commands ``remote watch`` and ``remote cancel`` (`add_actions`) come back to
            a job.
    """

    unit: str
    progress: Callable[[Any], Progress]
    result: Callable[[Any], str]
    program: str


def follow(operation: RemoteOperation, view: JobView) -> int:
    """Show the name of an operation, then how far it is until it is done, then what was made.

    Ctrl-C ends the watching, not the job, and says how to come back.

    Returns:
        An exit code: 0, or 130 after Ctrl-C.

    Raises:
        RankSRGANError: what ended the job; ServiceUnavailable: the server did not come back.
    """
    _say(operation.name)
    try:
        _watch(operation, view)
    except KeyboardInterrupt:
        command = f"{view.program} remote watch|cancel {operation.address} {operation.name}"
        sys.stderr.write(f"\nthe work goes on; watch it or end it with\n  {command}\n")
        return 130
    _say(view.result(operation.result()))
    return 0


def _watch(operation: RemoteOperation, view: JobView) -> None:
    news = ""
    with tqdm(unit=view.unit, file=sys.stderr, disable=None) as bar:
        done = False
        while not done:
            done = operation.wait(_LOOK_EVERY)
            progress = view.progress(operation.progress())
            if bar.n == 0:
                bar.initial = progress.done  # what others have done says nothing of the pace
            bar.total, bar.n = progress.total or None, progress.done
            bar.set_postfix_str(progress.note, refresh=False)
            bar.refresh()
            if progress.news and progress.news != news:
                news = progress.news
                log.info("%s", news)


def _say(text: str) -> None:
    """To standard output at once: who reads it through a pipe may want to come back later."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def cancel(operation: RemoteOperation) -> int:
    """End an operation's job and wait until it has ended; the exit code.

    Raises:
        RankSRGANError: it had ended with another error before.
    """
    operation.cancel()
    try:
        operation.result()
    except RequestCancelled:
        _say(f"{operation.name} is cancelled")
    else:
        _say(f"{operation.name} was done already")
    return 0


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add the argument ``ADDRESS``."""
    parser.add_argument("address", metavar="ADDRESS", help=_ADDRESS)


def add_wanted(parser: argparse.ArgumentParser, kind: str, meaning: str) -> None:
    """Add ``--at ADDRESS`` and ``-o KIND/NAME``: what is asked for, and where (see `wanted_id`).

    Args:
        parser: of a command that asks for a job.
        kind: of what the job makes: "generators".
        meaning: of the name, for the help.
    """
    parser.add_argument("--at", required=True, metavar="ADDRESS", help=f"of the server: {_ADDRESS}")
    parser.add_argument("-o", "--output", required=True, metavar=f"{kind}/NAME", help=meaning)
    parser.set_defaults(kind=kind)


def wanted_id(arguments: argparse.Namespace) -> str:
    """NAME of `add_wanted`.

    Raises:
        InvalidInput: not a name of that kind.
    """
    return id_in(arguments.output, arguments.kind, "output")


def add_actions(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], view: JobView, job: str
) -> None:
    """Add ``watch ADDRESS operations/ID`` and ``cancel ADDRESS operations/ID``.

    Args:
        actions: what a ``remote`` command can do.
        view: how the jobs are shown.
        job: what a job is, for the help: "a training".
    """

    def connect(arguments: argparse.Namespace) -> RemoteOperation:
        from ranksrgan.contracts.clients.operations import connect_operation

        return connect_operation(arguments.address, arguments.operation, retry_for=PATIENCE)

    for name, meaning, command in (
        ("watch", f"come back to {job}", lambda arguments: follow(connect(arguments), view)),
        ("cancel", f"end {job}", lambda arguments: cancel(connect(arguments))),
    ):
        parser = actions.add_parser(name, help=meaning)
        add_address(parser)
        parser.add_argument("operation", metavar="operations/ID")
        parser.set_defaults(command=command)
