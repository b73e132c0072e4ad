"""The file of bearer tokens: who may call.

It has one line a client, ``NAME SHA256``, the hash in hexadecimal digits; lines that begin with
``#`` are comments. A token has 256 random bits, so a plain hash gives nothing away. A client sends
it as ``authorization: Bearer TOKEN``. A server notices by itself that the file has changed, and
ends what is open of those who are not in it any more; what is no token file then is said in the
log, and the tokens stay those they were. A file whose last token was taken out lets nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import stat
import threading
import time
from pathlib import Path

from ranksrgan.contracts.errors import InvalidConfig, Unauthenticated

log = logging.getLogger(__name__)

#: Seconds between two looks at the file for streams. A look lets other threads go first, which
#: costs a twentieth of a stream's pace if it comes with each message.
LOOK = 0.2

#: Nanoseconds for which a file without tokens may be one that somebody is writing at the moment.
_SETTLED = 10**9

#: Of a client.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(rf"({NAME.pattern})\s+([0-9a-f]{{64}})")


class TokenFile:
    """The tokens that a server knows, as they stand in the file now.

    Args:
        path: the file.

    Raises:
        InvalidConfig: see `read_tokens`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._seen = signature(path)
        self._names = read_tokens(path)

    def name_of(self, authorization: str | None) -> str:
        """The client that an ``authorization`` header belongs to.

        Raises:
            Unauthenticated: it is missing, or no token that is known.
        """
        if authorization is None:
            raise Unauthenticated(
                "a token is needed: authorization: Bearer TOKEN (RANKSRGAN_CLIENT_TOKEN or "
                "RANKSRGAN_CLIENT_TOKEN_FILE for our clients)",
                field="authorization",
            )
        name = self._find(_digest(authorization))
        if name is None:
            raise Unauthenticated("the token is not known here", field="authorization")
        return name

    def require_still(self, name: str, authorization: str) -> None:
        """Find out whether a header that `name_of` knew still belongs to that client: quick, for
        each message of a stream.

        Raises:
            Unauthenticated: it does not, and has not for `LOOK` seconds.
        """
        if self._current(LOOK).get(_digest(authorization) or "") != name:
            raise Unauthenticated("the token is not known here any more", field="authorization")

    def _find(self, digest: str | None) -> str | None:
        if digest is None:
            return None
        found = None
        # Through all of them, so that the time tells nothing about which one it is.
        for known, name in self._current().items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _current(self, age: float = 0.0) -> dict[str, str]:
        """What stands in the file, or stood there ``age`` seconds ago."""
        if time.monotonic() < self._looked + age:
            return self._names
        with self._lock:
            self._looked = time.monotonic()
            now = signature(self._path)
            if now != self._seen:
                self._read_again(now)
            return self._names

    def _read_again(self, now: tuple[int, int, int] | None) -> None:
        try:
            names = _names_in(self._path)
        except InvalidConfig as error:
            log.error("%s; the tokens stay those from before", error)
        else:
            if not names and now is not None and abs(time.time_ns() - now[0]) < _SETTLED:
                return  # and look once more
            self._names = names
            if names:
                log.info("%s was read again: %d tokens", self._path, len(names))
            else:
                log.warning("%s has no token in it any more: nobody may call", self._path)
        self._seen = now


def _digest(authorization: str) -> str | None:
    """The hash of a header's token; None if the header is of another kind."""
    scheme, _, token = authorization.partition(" ")
    return hash_token(token.strip()) if scheme.lower() == "bearer" else None


def hash_token(token: str) -> str:
    """SHA-256 of a token, as it stands in the file."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> dict[str, str]:
    """The names of a token file by their token's hash.

    Raises:
        InvalidConfig: unreadable, writable by everybody, a line of another form, a name or token
            twice, or none at all; names the file and the line.
    """
    names = _names_in(path)
    if not names:
        raise InvalidConfig(f"tokens: {path} has no token in it", field="tokens")
    return names


def _names_in(path: Path) -> dict[str, str]:
    """`read_tokens`, of a file that may be without any."""
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise InvalidConfig(f"tokens: everybody may write to {path}: chmod o-w", field="tokens")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidConfig(f"tokens: {path}: {error.strerror}", field="tokens") from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"tokens: {path} is not text", field="tokens") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        # The line itself is not shown: it may be a token that somebody forgot to hash.
        wrong = (
            "should be NAME and 64 small hexadecimal digits (python -m "
            "ranksrgan.contracts.serving.tokens makes one)"
            if match is None
            else f"has the name {match[1]} a second time"
            if match[1] in names.values()
            else "has a token that stands there already"
            if match[2] in names
            else None
        )
        if match is None or wrong is not None:
            raise InvalidConfig(f"tokens: {path} line {number} {wrong}", field="tokens")
        names[match[2]] = match[1]
    return names


def signature(path: Path) -> tuple[int, int, int] | None:
    """What is another once the file has changed; None if there is none."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
