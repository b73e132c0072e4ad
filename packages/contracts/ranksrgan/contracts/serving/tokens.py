"""Make a bearer token: ``python -m ranksrgan.contracts.serving.tokens NAME [--file FILE]``"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from ranksrgan.contracts import atomic, console
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.serving.token_file import NAME, hash_token, read_tokens


def main(argv: Sequence[str] | None = None) -> int:
    """Make a token and print it, which is the only time that it can be seen."""
    parser = argparse.ArgumentParser(
        prog="python -m ranksrgan.contracts.serving.tokens",
        description="Make a token for a client and print it; the server keeps its hash.",
    )
    parser.add_argument("name", help="of the client, for logs and limits")
    parser.add_argument(
        "--file", type=Path, help="token file to add the hash to; printed without it"
    )
    arguments = parser.parse_args(argv)
    return console.run(lambda: _make(arguments.name, arguments.file))


def _make(name: str, file: Path | None) -> int:
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} is no name: letters, digits, '.', '_' and '-', at most 64", field="name"
        )
    token = secrets.token_urlsafe(32)
    line = f"{name} {hash_token(token)}\n"
    if file is None:
        sys.stdout.write(f"token  {token}\nline   {line}")
        return 0
    before = ""
    if file.exists():
        if name in read_tokens(file).values():
            raise InvalidInput(f"{file} has a token of {name}; remove its line first", field="name")
        before = file.read_text(encoding="utf-8")
        before += "" if before.endswith("\n") or not before else "\n"
    atomic.write_text(file, before + line)
    sys.stdout.write(f"{token}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
