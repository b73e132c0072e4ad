"""Standings that everybody looks at, computed once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from ranksrgan.pipeline.web import live_standings
from ranksrgan.pipeline.web.live_standings import LiveStandings
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.study_results import Standing, standings
from ranksrgan.pipeline.web.vote_book import Ballot, VoteBook
from tests.pipeline.web.conftest import PATIENCE


class Computing:
    """Stands in for `standings`: counts, and may be kept from ending."""

    def __init__(self) -> None:
        self.votes: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, ballots: Sequence[Ballot]) -> list[Standing]:
        self.votes.append(len(ballots))
        self.begun.set()
        assert self.go_on.wait(PATIENCE)
        return standings(ballots)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Computing:
    stand_in = Computing()
    monkeypatch.setattr(live_standings, "standings", stand_in)
    return stand_in


def test_they_are_computed_when_votes_change(
    study: Study, study_client: TestClient, book: VoteBook, computing: Computing
) -> None:
    def ask() -> tuple[int, list[tuple[int, int]]]:
        found = study_client.get("/api/studies/faces/results").json()
        return found["votes"], [(one["wins"], one["losses"]) for one in found["standings"]]

    assert [ask(), ask()] == [(0, []), (0, [])]
    first, second, *_ = study.ahead("Ada", ())
    book.record("faces", "Ada", first, "left", 10)
    assert [ask(), ask(), ask()] == [(1, [(1, 0), (0, 1)])] * 3
    book.record("faces", "Ada", first, "left", 10)  # the same again
    book.record("other", "Ada", first, "left", 10)
    assert ask()[0] == 1
    assert computing.votes == [0, 1]
    book.record("faces", "Ada", second, "left", 10)
    assert ask()[0] == 2
    book.undo("faces", "Ada", 2)
    assert ask() == (1, [(1, 0), (0, 1)])
    book.undo("faces", "Ada", 1)
    book.record("faces", "Ada", first, "right", 10)  # as many votes as before
    assert ask() == (1, [(1, 0), (0, 1)])
    assert computing.votes == [0, 1, 2, 1, 1]
    study_client.get("/api/studies")
    assert len(computing.votes) == 5


def test_one_thread_computes(study: Study, book: VoteBook, computing: Computing) -> None:
    live = LiveStandings("faces", book)
    computing.go_on.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(live.now) for _ in range(4)]  # nothing is known yet
        assert computing.begun.wait(PATIENCE)
        computing.go_on.set()
        assert [future.result(PATIENCE)[0].votes for future in waiting] == [0] * 4
        assert computing.votes == [0]
        computing.begun.clear()
        computing.go_on.clear()
        book.record("faces", "Ada", study.ahead("Ada", ())[0], "left", 10)
        later = pool.submit(live.now)
        assert computing.begun.wait(PATIENCE)
        assert live.now()[0].votes == 0  # nobody waits for it
        computing.go_on.set()
        assert later.result(PATIENCE)[0].votes == 1
    assert live.now()[0].votes == 1
    assert computing.votes == [0, 1]
