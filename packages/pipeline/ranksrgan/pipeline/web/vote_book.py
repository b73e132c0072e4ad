"""The votes of all studies, in one SQLite file.

Write-ahead logging: people vote while others read. A vote that was answered is on the disk, and
stays: one that is taken back is marked as withdrawn, and counts no more.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ranksrgan.contracts.errors import (
    DiskFull,
    InvalidDataset,
    InvalidInput,
    MissingAsset,
    Overloaded,
)
from ranksrgan.pipeline.web.study import Pair, Showing, Study, person

log = logging.getLogger(__name__)

Choice = Literal["left", "right", "tie"]
_CHOICES: dict[str, Choice] = {choice: choice for choice in get_args(Choice)}

_FORMAT = 2

# What SQLite adds to the name of a file, for the files that it keeps beside one in use.
_WAL = "-wal"
_COMPANIONS = (_WAL, "-shm", "-journal")

# What SQLite may take to write at once, beside the vote itself: a step of its shared memory.
_ROOM = 2**16
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

# A pair has one vote a rater that counts, whichever side its methods were on.
_SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS vote (
    id INTEGER PRIMARY KEY,
    study TEXT NOT NULL,
    rater TEXT NOT NULL,
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    left_method TEXT NOT NULL,
    right_method TEXT NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie')),
    time TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    withdrawn TEXT,
    person TEXT NOT NULL DEFAULT ''
)
""",
    """
CREATE UNIQUE INDEX IF NOT EXISTS one_vote_a_pair ON vote (
    study, rater, content, min(left_method, right_method), max(left_method, right_method)
) WHERE withdrawn IS NULL
""",
    # In which raters are found, and votes counted, without reading the table.
    "CREATE INDEX IF NOT EXISTS votes_of_a_study ON vote (study, person, rater, withdrawn)",
    # The files that people voted on.
    """
CREATE TABLE IF NOT EXISTS image (
    study TEXT NOT NULL,
    content TEXT NOT NULL,
    method TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (study, content, method)
)
""",
)

# What makes format 2 of format 1, where votes were deleted when they were taken back, and every
# spelling of a name was somebody else.
_FROM_1 = (
    "ALTER TABLE vote ADD COLUMN withdrawn TEXT",
    "ALTER TABLE vote ADD COLUMN person TEXT NOT NULL DEFAULT ''",
    "UPDATE vote SET person = person(rater)",
    "DROP INDEX IF EXISTS one_vote_a_pair",
)


@dataclass(frozen=True)
class Ballot:
    """One vote.

    Attributes:
        rater: who gave it.
        position: 1 for the rater's first vote of the study, and so on.
        showing: what the rater saw.
        choice: the side that was preferred, or ``tie``.
        time: in UTC, ISO 8601.
        milliseconds: that the images were on the screen.
    """

    rater: str
    position: int
    showing: Showing
    choice: Choice
    time: str
    milliseconds: int


@dataclass(frozen=True)
class Tally:
    """The votes of a study in numbers. Two are equal if nobody voted or took a vote back between.

    Attributes:
        votes: that count.
        raters: who gave them.
        last: number of the last vote, whether it counts or not.
    """

    votes: int = 0
    raters: int = 0
    last: int = 0


class Recognised(NamedTuple):
    """What became of the images that people voted on.

    Attributes:
        voted: how many they are.
        replaced: content and method of those that are other files now.
        gone: likewise, of those that are not there any more.
    """

    voted: int
    replaced: list[tuple[str, str]]
    gone: list[tuple[str, str]]


class VoteBook:
    """The file of votes, made if it is not there, and brought up if an earlier version made it.

    Unless it is only read, it is kept open as long as this object lives: its companions then are
    there already, and votes are read even when the disk has no room for them.

    Args:
        path: of the file; SQLite keeps two more beside it while it is in use.
        read_only: for the votes that are there; nothing is made or changed, unless somebody votes
            meanwhile.

    Raises:
        InvalidDataset: it is something else, of a later version, or cannot be read or written.
        DiskFull: there is no room for it.
        MissingAsset: by every method, once the file is not where it was, or is another.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._name, self._serving = str(path), False
        self._identity: tuple[int, int] | None = None
        mode = "rwc"
        if read_only:
            # Where nobody is at work on it, SQLite would make the companions of such a file again,
            # and so want to write.
            busy = _beside(path, _WAL).exists()
            mode = "ro" if busy else "ro&immutable=1"
        self._address = _address(path, mode)
        with self._open() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version not in range(_FORMAT + 1):
                raise InvalidDataset(
                    f"{path} is of format {version}; this version reads up to {_FORMAT}",
                    field=str(path),
                )
            (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if version == 0 and (tables or read_only):
                raise InvalidDataset(f"{path} holds something else than votes", field=str(path))
            if not read_only:
                database.execute("PRAGMA journal_mode = WAL")
                _bring_up(database)
        if not read_only:
            # From here on raters read what is wrong, who need no path, and the log has it all.
            self._name, self._serving = path.name, True
            # Where a file has been moved away SQLite would begin another, and never find these.
            self._identity, self._address = _identity(path), _address(path, "rw")
            with self._translated():
                kept = sqlite3.connect(self._address, uri=True, check_same_thread=False)
                weakref.finalize(self, kept.close)
                kept.execute("SELECT count(*) FROM vote").fetchone()
        # All votes of format 1 count.
        self._counts = "1" if read_only and version == 1 else "withdrawn IS NULL"

    def record(
        self, study: str, rater: str, showing: Showing, choice: Choice, milliseconds: int
    ) -> None:
        """Write a vote under the name that `known_as` has for the rater.

        The same vote again, from a repeated request, changes nothing.

        Raises:
            InvalidInput: this rater voted otherwise on this pair.
            DiskFull, Overloaded: it could not be written.
        """
        pair, left, right = showing
        with self._open() as database:
            # Nobody is to come in between with another spelling.
            database.execute("BEGIN IMMEDIATE")
            rater = _known_as(database, study, rater)
            ballot = (study, rater, person(rater), pair.content, left, right, choice, _now())
            done = database.execute(
                "INSERT INTO vote (study, rater, position, person, content, left_method, "
                "right_method, choice, time, milliseconds) "
                "SELECT ?, ?, coalesce(max(position), 0) + 1, ?, ?, ?, ?, ?, ?, ? FROM vote "
                "WHERE study = ? AND rater = ? AND withdrawn IS NULL ON CONFLICT DO NOTHING",
                (*ballot, milliseconds, study, rater),
            )
            if done.rowcount:
                return
            (before,) = database.execute(
                "SELECT choice FROM vote WHERE study = ? AND rater = ? AND content = ? "
                "AND left_method IN (?, ?) AND right_method IN (?, ?) AND withdrawn IS NULL",
                (study, rater, pair.content, left, right, left, right),
            ).fetchone()
        if before != choice:
            raise InvalidInput(
                f"{rater} has voted on this pair already; undo comes before another vote",
                field="pair",
            )

    def undo(self, study: str, rater: str, position: int) -> bool:
        """Take back the rater's vote of that position; False if it is not the last one.

        The vote stays in the file as withdrawn, with the time: anybody can take back anybody's. The
        same request again, after an answer that was lost, takes nothing more back.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            rater = _known_as(database, study, rater)
            done = database.execute(
                "UPDATE vote SET withdrawn = ? WHERE study = ? AND rater = ? AND position = ? "
                "AND withdrawn IS NULL AND position = (SELECT max(position) FROM vote "
                "WHERE study = ? AND rater = ? AND withdrawn IS NULL)",
                (_now(), study, rater, position, study, rater),
            )
            return done.rowcount > 0

    def known_as(self, study: str, rater: str) -> str:
        """How a rater's name was first spelt in a study; as it is spelt here if there is no vote.

        Spellings that differ in capitals or spaces are one rater. In files of format 1 they were
        not, and who has votes under just this spelling goes on with them.
        """
        with self._open() as database:
            return _known_as(database, study, rater)

    def ballots(self, study: str, rater: str | None = None) -> list[Ballot]:
        """The votes of a study that count, of one rater or all, in the order of their giving."""
        whose, names = ("", (study,)) if rater is None else (" AND rater = ?", (study, rater))
        with self._open() as database:
            rows = database.execute(
                "SELECT rater, position, content, left_method, right_method, choice, time, "
                f"milliseconds FROM vote WHERE study = ?{whose} AND {self._counts} ORDER BY id",
                names,
            ).fetchall()
        return [_ballot(*row) for row in rows]

    def tally(self, study: str) -> Tally:
        """How many votes a study has, without reading them."""
        with self._open() as database:
            row = database.execute(
                "SELECT count(*) - count(withdrawn), "
                "count(DISTINCT CASE WHEN withdrawn IS NULL THEN rater END), "
                "coalesce(max(id), 0) FROM vote WHERE study = ?",
                (study,),
            ).fetchone()
        return Tally(*row)

    def recognise(self, study: Study) -> Recognised:
        """Compare the files of a study with those that people voted on, which the book remembers.

        Files without votes that count are remembered as they are now.

        Raises:
            DiskFull, Overloaded: they could not be written.
        """
        now = {
            (content, method): sha256
            for content, hashes in study.hashes.items()
            for method, sha256 in hashes.items()
        }
        with self._open() as database:
            voted = set(
                database.execute(
                    "SELECT content, left_method FROM vote WHERE study = ? AND withdrawn IS NULL "
                    "UNION SELECT content, right_method FROM vote WHERE study = ? "
                    "AND withdrawn IS NULL",
                    (study.name, study.name),
                )
            )
            before = {
                (content, method): sha256
                for content, method, sha256 in database.execute(
                    "SELECT content, method, sha256 FROM image WHERE study = ?", (study.name,)
                )
            }
            other = {image for image, sha256 in now.items() if before.get(image) != sha256}
            replaced = other & voted & before.keys()
            database.executemany(
                "INSERT OR REPLACE INTO image (study, content, method, sha256) VALUES (?, ?, ?, ?)",
                [(study.name, *image, now[image]) for image in sorted(other - replaced)],
            )
        return Recognised(len(voted), sorted(replaced), sorted(voted - now.keys()))

    def studies(self) -> list[str]:
        """The names of the studies that have votes that count."""
        with self._open() as database:
            rows = database.execute(
                f"SELECT DISTINCT study FROM vote WHERE {self._counts} ORDER BY study"
            ).fetchall()
        return [name for (name,) in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection, whose changes are kept if the block ends well; SQLite's errors as ours."""
        self._require_same_file()
        with (
            self._translated(),
            closing(sqlite3.connect(self._address, timeout=10.0, uri=True)) as database,
        ):
            database.execute("PRAGMA synchronous = FULL")
            with database:
                yield database

    def _require_same_file(self) -> None:
        """SQLite would mix what it keeps beside a file with another that has its name."""
        if self._identity is None or _identity(self._path) == self._identity:
            return
        log.error("%s was moved or replaced while it was in use", self._path)
        raise MissingAsset(
            f"{self._name} was moved or replaced while it was in use: votes are counted again when "
            "the file is back, or when the page is started anew",
            field=self._name,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            kind = getattr(error, "sqlite_errorname", "")
            message, field = f"{self._name}: {error}", self._name
            if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise Overloaded(f"{message}; try again in a moment", field=field) from error
            if self._serving:
                log.error("%s: %s (%s)", self._path, error, kind)
            # A disk without room has many names, by the file that SQLite could not make longer.
            if kind.startswith("SQLITE_FULL") or (
                kind.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN")) and not self._has_room()
            ):
                raise DiskFull(
                    f"{message}; the disk of the votes is full, and nothing was changed",
                    field=field,
                ) from error
            if kind.startswith(("SQLITE_READONLY", "SQLITE_IOERR")):
                raise InvalidDataset(
                    f"{message}; the file and its folder must be readable and writable",
                    field=field,
                ) from error
            if kind.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CANTOPEN")):
                raise InvalidDataset(
                    f"{message}; a file of votes is wanted", field=field
                ) from error
            raise

    def _has_room(self) -> bool:
        """Whether a little more can be written beside the file: a quota too shows in no number."""
        try:
            with tempfile.TemporaryFile(dir=self._path.absolute().parent, buffering=0) as probe:
                return probe.write(bytes(_ROOM)) == _ROOM
        except OSError as error:
            return error.errno not in _NO_ROOM


def files_of(path: Path) -> list[Path]:
    """A file of votes, and those that SQLite keeps beside it while it is in use."""
    return [path, *(_beside(path, added) for added in _COMPANIONS)]


def _beside(path: Path, added: str) -> Path:
    file = Path(os.path.realpath(path))  # beside what a link leads to
    return file.with_name(f"{file.name}{added}")


def _address(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _known_as(database: sqlite3.Connection, study: str, rater: str) -> str:
    found = database.execute(
        # Votes that were taken back too: a name is not to change with them.
        "SELECT rater FROM vote WHERE study = ? AND person = ? ORDER BY rater <> ?, id LIMIT 1",
        (study, person(rater), rater),
    ).fetchone()
    return rater if found is None else str(found[0])


def _bring_up(database: sqlite3.Connection) -> None:
    """Make the tables, or those of an earlier version what this one has: all of it or nothing."""
    database.create_function("person", 1, person, deterministic=True)
    database.execute("BEGIN IMMEDIATE")
    (version,) = database.execute("PRAGMA user_version").fetchone()  # since nobody else changes it
    if version == _FORMAT:
        return  # and write nothing: the disk may be full
    for statement in (*(_FROM_1 if version == 1 else ()), *_SCHEMA):
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {_FORMAT}")


def _ballot(
    rater: str,
    position: int,
    content: str,
    left: str,
    right: str,
    choice: str,
    time: str,
    milliseconds: int,
) -> Ballot:
    first, second = (left, right) if left <= right else (right, left)
    showing = Showing(Pair(content, first, second), left, right)
    return Ballot(rater, position, showing, _CHOICES[choice], time, milliseconds)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
