"""Votes on the disk."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from ranksrgan.contracts.errors import DiskFull, InvalidDataset, InvalidInput
from ranksrgan.pipeline.web.study import Pair, Showing, Study
from ranksrgan.pipeline.web.vote_book import Tally, VoteBook

PAIR = Pair("cat", "sharp", "soft")
SHOWN, SWAPPED = Showing(PAIR, "sharp", "soft"), Showing(PAIR, "soft", "sharp")


def test_a_vote_is_kept_with_all_that_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "votes.sqlite"
    VoteBook(path).record("faces", "Ada", SWAPPED, "left", 1234)
    (ballot,) = VoteBook(path).ballots("faces")
    assert (ballot.rater, ballot.position, ballot.choice) == ("Ada", 1, "left")
    assert (ballot.showing, ballot.milliseconds) == (SWAPPED, 1234)
    age = datetime.now(UTC) - datetime.fromisoformat(ballot.time)
    assert timedelta(0) <= age < timedelta(minutes=10)


def test_the_file_is_in_wal_mode(book: VoteBook, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "votes.sqlite") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_repeated_request_counts_once(book: VoteBook) -> None:
    book.record("faces", "Ada", SHOWN, "tie", 10)
    book.record("faces", "Ada", SHOWN, "tie", 900)
    assert [ballot.milliseconds for ballot in book.ballots("faces")] == [10]


@pytest.mark.parametrize("showing", [SHOWN, SWAPPED])
def test_no_pair_has_two_votes_of_a_rater(book: VoteBook, showing: Showing) -> None:
    book.record("faces", "Ada", SHOWN, "left", 10)
    with pytest.raises(InvalidInput, match="Ada has voted on this pair already"):
        book.record("faces", "Ada", showing, "right", 10)
    book.record("faces", "Bo", showing, "right", 10)
    book.record("other", "Ada", showing, "right", 10)
    assert [ballot.rater for ballot in book.ballots("faces")] == ["Ada", "Bo"]
    assert book.studies() == ["faces", "other"]


def test_undo_takes_the_last_vote_of_that_rater_back(book: VoteBook, study: Study) -> None:
    ahead = study.ahead("Ada", ())
    for showing in ahead[:3]:
        book.record("faces", "Ada", showing, "left", 10)
    book.record("faces", "Bo", SHOWN, "right", 10)
    assert not book.undo("faces", "Ada", 2)
    assert book.undo("faces", "Ada", 3)
    assert not book.undo("faces", "Ada", 3)
    assert [b.showing for b in book.ballots("faces", "Ada")] == ahead[:2]
    book.record("faces", "Ada", ahead[2], "right", 10)
    assert [b.position for b in book.ballots("faces", "Ada")] == [1, 2, 3]
    assert len(book.ballots("faces", "Bo")) == 1
    assert not book.undo("faces", "nobody", 1)


def test_what_is_taken_back_stays_as_withdrawn(book: VoteBook, tmp_path: Path) -> None:
    book.record("faces", "Ada", SHOWN, "left", 10)
    assert book.undo("faces", "Ada", 1)
    assert book.ballots("faces") == []
    assert book.studies() == []
    book.record("faces", "Ada", SWAPPED, "left", 20)
    assert [(b.position, b.milliseconds) for b in book.ballots("faces")] == [(1, 20)]
    assert [b.milliseconds for b in book.ballots("faces", "Ada")] == [20]
    with sqlite3.connect(tmp_path / "votes.sqlite") as database:
        rows = database.execute("SELECT milliseconds, withdrawn FROM vote ORDER BY id").fetchall()
    assert [milliseconds for milliseconds, _ in rows] == [10, 20]
    age = datetime.now(UTC) - datetime.fromisoformat(rows[0][1])
    assert timedelta(0) <= age < timedelta(minutes=10)
    assert rows[1][1] is None
    with pytest.raises(InvalidInput, match="Ada has voted on this pair already"):
        book.record("faces", "Ada", SHOWN, "right", 30)


# As version 1 made it, with three votes in it.
FORMAT_1 = """
CREATE TABLE vote (
    id INTEGER PRIMARY KEY, study TEXT NOT NULL, rater TEXT NOT NULL, position INTEGER NOT NULL,
    content TEXT NOT NULL, left_method TEXT NOT NULL, right_method TEXT NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right', 'tie')), time TEXT NOT NULL,
    milliseconds INTEGER NOT NULL
);
CREATE UNIQUE INDEX one_vote_a_pair ON vote (
    study, rater, content, min(left_method, right_method), max(left_method, right_method)
);
INSERT INTO vote VALUES
    (1, 'faces', 'Ada', 1, 'cat', 'sharp', 'soft', 'left', '2026-01-02T03:04:05.678+00:00', 10),
    (2, 'faces', 'ada', 1, 'cat', 'sharp', 'soft', 'tie', '2026-01-02T03:04:06.678+00:00', 20),
    (3, 'faces', 'Ada', 2, 'cup', 'soft', 'sharp', 'left', '2026-01-02T03:04:07.678+00:00', 30);
PRAGMA user_version = 1;
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(FORMAT_1)
    return path


def test_a_file_of_format_1_is_read_as_it_is(old: Path) -> None:
    before = old.read_bytes()
    book = VoteBook(old, read_only=True)
    assert [b.milliseconds for b in book.ballots("faces")] == [10, 20, 30]
    assert [b.milliseconds for b in book.ballots("faces", "Ada")] == [10, 30]
    assert book.studies() == ["faces"]
    assert old.read_bytes() == before


def test_a_file_of_format_1_is_brought_up(old: Path) -> None:
    before = VoteBook(old, read_only=True).ballots("faces")
    for _ in range(2):  # again, at the next start
        book = VoteBook(old)
        assert book.ballots("faces") == before
    assert book.undo("faces", "Ada", 2)
    book.record("faces", "Ada", before[2].showing, "tie", 40)
    assert [b.milliseconds for b in book.ballots("faces")] == [10, 20, 40]
    assert VoteBook(old, read_only=True).ballots("faces") == book.ballots("faces")


def test_votes_are_counted(book: VoteBook, study: Study) -> None:
    assert book.tally("faces") == Tally(votes=0, raters=0, last=0)
    for rater in ("Ada", "Bo"):
        for showing in study.ahead(rater, ())[:2]:
            book.record("faces", rater, showing, "left", 10)
    book.record("other", "Cy", SHOWN, "left", 10)
    assert book.tally("faces") == Tally(votes=4, raters=2, last=4)
    book.undo("faces", "Bo", 2)
    book.undo("faces", "Bo", 1)
    assert book.tally("faces") == Tally(votes=2, raters=1, last=4)
    book.record("faces", "Bo", SHOWN, "left", 10)
    assert book.tally("faces") == Tally(votes=3, raters=2, last=6)


def test_a_name_is_shown_as_it_was_first_spelt(book: VoteBook, study: Study) -> None:
    first, second, *_ = study.ahead("Anna B", ())
    assert book.known_as("faces", "anna b") == "anna b"
    book.record("faces", "Anna B", first, "left", 10)
    for spelling in ("anna b", "ANNA B", "Anna B"):
        assert book.known_as("faces", spelling) == "Anna B"
    assert book.known_as("faces", "Anna") == "Anna"
    assert book.known_as("other", "anna b") == "anna b"
    with pytest.raises(InvalidInput, match="Anna B has voted on this pair already"):
        book.record("faces", "anna b", first, "right", 10)
    book.record("faces", "anna b", second, "left", 10)
    assert [(b.rater, b.position) for b in book.ballots("faces")] == [("Anna B", 1), ("Anna B", 2)]
    assert book.tally("faces").raters == 1
    assert book.undo("faces", "ANNA B", 2)
    assert len(book.ballots("faces", "Anna B")) == 1
    assert book.undo("faces", "ANNA B", 1)
    assert book.known_as("faces", "anna b") == "Anna B"


def test_spellings_that_an_old_file_holds_stay_two_raters(old: Path) -> None:
    book = VoteBook(old)
    names = {name: book.known_as("faces", name) for name in ("Ada", "ada", "ADA")}
    assert names == {"Ada": "Ada", "ada": "ada", "ADA": "Ada"}
    assert book.tally("faces").raters == 2
    for _ in range(2):  # the second time it is not the other's
        book.undo("faces", "ada", 1)
    assert [b.milliseconds for b in book.ballots("faces")] == [10, 30]


def test_spellings_at_the_same_time_become_one_rater(book: VoteBook, study: Study) -> None:
    names = ["anna", "Anna", "ANNA", "aNNa"]

    def vote(job: tuple[str, Pair]) -> None:
        book.record("faces", job[0], study.showing(*job), "left", 5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vote, [(name, pair) for pair in study.pairs for name in names]))
    assert len(book.ballots("faces")) == len(study.pairs)
    assert book.tally("faces").raters == 1


def test_many_vote_at_once(book: VoteBook, study: Study) -> None:
    jobs = [(f"rater {i}", pair) for i in range(8) for pair in study.pairs]

    def vote(job: tuple[str, Pair]) -> None:
        book.record("faces", job[0], study.showing(*job), "left", 5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vote, jobs))
    ballots = book.ballots("faces")
    assert sorted((ballot.rater, ballot.showing.pair) for ballot in ballots) == sorted(jobs)
    for i in range(8):
        mine = [ballot.position for ballot in ballots if ballot.rater == f"rater {i}"]
        assert mine == list(range(1, len(study.pairs) + 1))


def test_something_else_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Ada, " * 100)
    with pytest.raises(InvalidDataset, match=r"letter.txt: .*a file of votes is wanted"):
        VoteBook(path)
    assert path.read_text() == "Dear Ada, " * 100


def test_a_file_of_a_later_version_is_refused(book: VoteBook, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "votes.sqlite") as database:
        database.execute("PRAGMA user_version = 7")
    with pytest.raises(InvalidDataset, match="is of format 7; this version reads up to 2"):
        VoteBook(tmp_path / "votes.sqlite")


def test_a_database_of_others_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "photos.sqlite") as database:
        database.execute("CREATE TABLE photo (name TEXT)")
    with pytest.raises(InvalidDataset, match="holds something else"):
        VoteBook(tmp_path / "photos.sqlite")


def test_a_start_that_is_cut_short_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def cut(action: int, first: str | None, second: str | None, *rest: object) -> int:
        deny = first == "user_version" and second is not None
        return sqlite3.SQLITE_DENY if deny else sqlite3.SQLITE_OK

    def short(*arguments: object, **options: object) -> sqlite3.Connection:
        database = connect(*arguments, **options)  # type: ignore[call-overload]
        database.set_authorizer(cut)
        return database

    monkeypatch.setattr(sqlite3, "connect", short)
    with pytest.raises(sqlite3.DatabaseError):
        VoteBook(tmp_path / "votes.sqlite")
    monkeypatch.undo()
    VoteBook(tmp_path / "votes.sqlite").record("faces", "Ada", SHOWN, "left", 1)


def test_a_file_that_is_read_is_not_changed(book: VoteBook, tmp_path: Path) -> None:
    book.record("faces", "Ada", SHOWN, "left", 1)
    reader = VoteBook(tmp_path / "votes.sqlite", read_only=True)
    assert [ballot.rater for ballot in reader.ballots("faces")] == ["Ada"]
    with pytest.raises(InvalidDataset, match="readonly database; the file and its folder must"):
        reader.record("faces", "Bo", SHOWN, "left", 1)
    before = sorted(tmp_path.iterdir())
    assert [ballot.rater for ballot in reader.ballots("faces")] == ["Ada"]
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(InvalidDataset, match="holds something else than votes"):
        VoteBook(tmp_path / "empty.sqlite", read_only=True)
    assert (tmp_path / "empty.sqlite").stat().st_size == 0


def test_a_full_disk_is_said(book: VoteBook, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def tight(*arguments: object, **options: object) -> sqlite3.Connection:
        database = connect(*arguments, **options)  # type: ignore[call-overload]
        database.execute("PRAGMA max_page_count = 1")
        return database

    monkeypatch.setattr(sqlite3, "connect", tight)

    def fill() -> None:
        for i in range(200):
            book.record("faces", f"{'x' * 60} {i}", SHOWN, "left", 1)

    with pytest.raises(DiskFull, match="the disk of the votes is full, and nothing was changed"):
        fill()
    monkeypatch.undo()
    raters = [ballot.rater for ballot in book.ballots("faces")]
    assert 0 < len(raters) < 200
    book.record("faces", "Ada", SHOWN, "left", 1)
    assert [ballot.rater for ballot in book.ballots("faces")] == [*raters, "Ada"]


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Stands in for a quota: writing beyond it fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_quota_that_is_used_up_is_a_full_disk(
    study: Study,
    study_client: TestClient,
    book: VoteBook,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shown, other, *_ = study.ahead("Ada", ())
    book.record("faces", "Ada", shown, "left", 1)
    before = book.ballots("faces")
    ballot = {"pair": study.token(other.pair), "choice": "left", "milliseconds": 1}
    with no_file_longer_than((tmp_path / "votes.sqlite-wal").stat().st_size):
        for rater in ("Ada", "Bo"):
            answer = study_client.post("/api/studies/faces/votes", json={"rater": rater, **ballot})
            told = answer.json()["error"]
            assert (answer.status_code, told["code"]) == (507, "DISK_FULL")
            assert told["message"] == (
                "votes.sqlite: disk I/O error; the disk of the votes is full, and nothing was "
                "changed"
            )
            assert told["field"] == "votes.sqlite"
            said = f"{tmp_path}/votes.sqlite: disk I/O error (SQLITE_IOERR_WRITE)"
            assert caplog.messages[-1] == said
        assert book.ballots("faces") == before
        assert study_client.get("/api/studies/faces/results").json()["votes"] == 1
        assert study_client.get("/api/studies/faces/next?rater=Bo").json()["done"] == 0
    assert (
        study_client.post("/api/studies/faces/votes", json={"rater": "Ada", **ballot}).json()[
            "done"
        ]
        == 2
    )


def test_other_faults_of_the_disk_are_no_want_of_room(
    book: VoteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> sqlite3.Connection:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorname = "SQLITE_IOERR_READ"
        raise error

    monkeypatch.setattr(sqlite3, "connect", fail)
    with pytest.raises(InvalidDataset, match="must be readable and writable"):
        book.ballots("faces")


def test_the_file_stays_open_as_long_as_it_is_used(tmp_path: Path) -> None:
    book = VoteBook(tmp_path / "votes.sqlite")
    book.record("faces", "Ada", SHOWN, "left", 1)
    companions = {"votes.sqlite", "votes.sqlite-wal", "votes.sqlite-shm"}
    assert {path.name for path in tmp_path.iterdir()} == companions
    del book
    assert {path.name for path in tmp_path.iterdir()} == {"votes.sqlite"}


def test_a_file_that_was_moved_is_not_begun_again(
    study: Study,
    study_client: TestClient,
    book: VoteBook,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file, away = tmp_path / "votes.sqlite", tmp_path / "away.sqlite"
    shown, other, *_ = study.ahead("Ada", ())
    book.record("faces", "Ada", shown, "left", 1)
    before = book.ballots("faces")
    ballot = {"rater": "Ada", "pair": study.token(other.pair), "choice": "left", "milliseconds": 1}

    def vote(status: int) -> Any:
        answer = study_client.post("/api/studies/faces/votes", json=ballot)
        assert answer.status_code == status
        return answer.json()

    file.rename(away)
    told = vote(503)["error"]
    assert (told["code"], told["field"]) == ("MISSING_ASSET", "votes.sqlite")
    assert told["message"].startswith("votes.sqlite was moved or replaced while it was in use")
    assert caplog.messages[-1] == f"{file} was moved or replaced while it was in use"
    assert not file.exists()
    file.touch()  # somebody else's
    assert vote(503)["error"]["code"] == "MISSING_ASSET"
    assert file.stat().st_size == 0
    away.rename(file)
    assert book.ballots("faces") == before
    assert vote(200)["done"] == 2
