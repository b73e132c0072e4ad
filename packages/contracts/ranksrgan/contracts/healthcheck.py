"""``python -m ranksrgan.contracts.healthcheck ADDRESS [--wait SECONDS]``: exit code 0 if it serves.

For deploy scripts, containers and probes; any gRPC health client does as well.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ranksrgan.contracts import console
from ranksrgan.contracts.serving.client_credentials import ClientCredentials
from ranksrgan.contracts.serving.health_probe import health_problem
from ranksrgan.contracts.serving.readiness import READY


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ranksrgan.contracts.healthcheck", description="Ask whether a server serves."
    )
    parser.add_argument("address", help="HOST:PORT, grpcs://HOST:PORT or unix:PATH")
    parser.add_argument(
        "--service",
        default=READY,
        metavar="NAME",
        help="a service's full name; '' for the process, which lives while it loads and drains "
        "(default: all services)",
    )
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait until it does")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for one answer")
    for flag, meaning in (
        ("--ca", "authorities to trust"),
        ("--certificate", "the client's certificate, where the server wants one"),
        ("--key", "of that certificate"),
    ):
        parser.add_argument(flag, type=Path, metavar="FILE", help=meaning)
    parser.add_argument("--server-name", metavar="NAME", help="in the server's certificate")
    parser.add_argument("-v", "--verbose", action="store_true", help="say why it does not")
    arguments = parser.parse_args(argv)
    return console.run(lambda: _check(arguments))


def _check(arguments: argparse.Namespace) -> int:
    names = ("ca", "certificate", "key", "server_name")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    credentials = replace(ClientCredentials.from_environment(), **given)
    end = time.monotonic() + arguments.wait
    while True:
        problem = health_problem(
            arguments.address,
            arguments.service,
            timeout=arguments.timeout,
            credentials=credentials,
        )
        if problem is None:
            return 0
        if time.monotonic() >= end:
            break
        time.sleep(0.1)
    if arguments.verbose:
        sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
