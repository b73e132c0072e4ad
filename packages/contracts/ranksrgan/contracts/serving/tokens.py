"""Make a bearer token: ``python -m ranksrgan.contracts.serving.tokens NAME [--file FILE]``"""

from __future__ import annotations

import argparse
import os
import secrets
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from ranksrgan.contracts import atomic, console
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.folder_lock import locked
from ranksrgan.contracts.serving.token_file import NAME, hash_token, read_tokens

# Seconds that others may take to write to the token file's folder.
_PATIENCE = 30.0


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
    _add(name, line, file)
    sys.stdout.write(f"{token}\n")
    return 0


def _add(name: str, line: str, file: Path) -> None:
    """Add a line to a token file, whoever else does meanwhile; a new one is its owner's alone."""
    target = Path(os.path.realpath(file))  # a link stays
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent, f"another process works in {target.parent}", wait=_PATIENCE):
        if not target.exists():
            target.touch(stat.S_IRUSR | stat.S_IWUSR)  # which what replaces it has too
        before = ""
        if target.stat().st_size:
            if name in read_tokens(target).values():
                raise InvalidInput(
                    f"{file} has a token of {name}; remove its line first", field="name"
                )
            before = target.read_text(encoding="utf-8")
            before += "" if before.endswith("\n") else "\n"
        atomic.write_text(target, before + line)


if __name__ == "__main__":
    raise SystemExit(main())
