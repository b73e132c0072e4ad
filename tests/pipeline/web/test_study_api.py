"""The pages of a study over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from ranksrgan.contracts.images import Picture, decode_image, write_image
from ranksrgan.metrics import elo, read_votes
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.vote_book import VoteBook

API = "/api/studies/faces"


def ahead(client: TestClient, rater: str = "Ada") -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{API}/next", params={"rater": rater}).json()
    return found


def vote(client: TestClient, state: dict[str, Any], choice: str = "left") -> dict[str, Any]:
    ballot = {
        "rater": state["rater"],
        "pair": state["pair"]["token"],
        "choice": choice,
        "milliseconds": 7,
    }
    answer = client.post(f"{API}/votes", json=ballot)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def grey(client: TestClient, state: dict[str, Any], side: str) -> int:
    """What tells the images of the trial study apart."""
    answer = client.get(
        f"{API}/images/{state['pair']['token']}/{side}", params={"rater": state["rater"]}
    )
    assert answer.headers["content-type"] == "image/png"
    told = str(answer.headers)
    assert not any(name in told for name in ("/cat", "cup", "sharp", "soft", "noisy"))
    return int(decode_image(answer.content).colour[0, 0, 0])


def test_a_rater_votes_on_every_pair_once(
    study_client: TestClient, book: VoteBook, study: Study
) -> None:
    state = ahead(study_client)
    seen = []
    for done in range(6):
        assert (state["done"], state["total"]) == (done, 6)
        assert (state["pair"]["width"], state["pair"]["height"]) == (48, 40)
        seen.append(state["pair"]["token"])
        expected = state["after"] and state["after"]["token"]
        state = vote(study_client, state, ("left", "right", "tie")[done % 3])
        assert (state["pair"] and state["pair"]["token"]) == expected
    assert (state["done"], state["pair"], state["after"]) == (6, None, None)
    assert len(set(seen)) == 6
    ballots = book.ballots("faces", "Ada")
    assert [ballot.showing for ballot in ballots] == study.ahead("Ada", ())
    assert [ballot.choice for ballot in ballots] == ["left", "right", "tie"] * 2
    assert [ballot.position for ballot in ballots] == [1, 2, 3, 4, 5, 6]


def test_the_images_are_those_that_the_vote_names(
    study_client: TestClient, book: VoteBook, study: Study
) -> None:
    state = ahead(study_client)
    greys = {side: grey(study_client, state, side) for side in ("left", "right")}
    vote(study_client, state)
    (ballot,) = book.ballots("faces")
    for side, method in (("left", ballot.showing.left), ("right", ballot.showing.right)):
        path = study.images[ballot.showing.pair.content][method]
        assert greys[side] == decode_image(path.read_bytes()).colour[0, 0, 0]


def test_who_comes_back_goes_on(study: Study, book: VoteBook) -> None:
    app = make_app({}, {"faces": study}, book)
    with TestClient(app, base_url="http://localhost") as client:
        state = vote(client, vote(client, ahead(client)))
    with TestClient(make_app({}, {"faces": study}, book), base_url="http://localhost") as client:
        assert ahead(client, " Ada ") == state
        assert ahead(client, "Bo")["done"] == 0


def test_a_name_may_be_spelt_another_way(
    study_client: TestClient, book: VoteBook, study: Study
) -> None:
    unknown = ahead(study_client, "anna  b")
    assert unknown["rater"] == "anna b"
    state = vote(study_client, ahead(study_client, "Anna B"))
    assert ahead(study_client, "ANNA   b") == state
    assert state["rater"] == "Anna B"
    # Who joined before the first vote goes on with the same pairs and sides.
    late = {**unknown, "pair": state["pair"]}
    greys = {side: grey(study_client, late, side) for side in ("left", "right")}
    assert greys == {side: grey(study_client, state, side) for side in ("left", "right")}
    assert vote(study_client, late)["done"] == 2
    assert {ballot.rater for ballot in book.ballots("faces")} == {"Anna B"}
    shown = book.ballots("faces")[1].showing
    path = study.images[shown.pair.content][shown.left]
    assert greys["left"] == decode_image(path.read_bytes()).colour[0, 0, 0]


def test_undo(study_client: TestClient) -> None:
    first = ahead(study_client)
    second = vote(study_client, first)
    third = vote(study_client, second)
    assert [state["last"] for state in (first, second, third)] == [0, 1, 2]
    for _ in range(2):  # again, because the answer was lost
        answer = study_client.post(f"{API}/undo", json={"rater": "Ada", "position": 2})
        assert answer.json() == second
    answer = study_client.post(f"{API}/undo", json={"rater": "Ada", "position": 1})
    assert answer.json() == first
    assert vote(study_client, first, "right") == second
    nobody = study_client.post(f"{API}/undo", json={"rater": "Bo", "position": 1})
    assert nobody.json()["done"] == 0


@pytest.mark.parametrize("change", [{}, {"position": 0}, {"position": 2**70}])
def test_an_undo_says_which_vote_it_takes_back(
    study_client: TestClient, change: dict[str, int]
) -> None:
    vote(study_client, ahead(study_client))
    refused = study_client.post(f"{API}/undo", json={"rater": "Ada", **change})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "position")
    assert ahead(study_client)["done"] == 1


def test_two_votes_on_a_pair_are_refused(study_client: TestClient) -> None:
    state = ahead(study_client)
    vote(study_client, state)
    ballot = {"rater": "Ada", "pair": state["pair"]["token"], "choice": "tie", "milliseconds": 1}
    answer = study_client.post(f"{API}/votes", json=ballot)
    assert answer.status_code == 400
    assert "voted on this pair already" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"rater": ""}, 400, "rater"),
        ({"rater": "=cmd"}, 400, "rater"),
        ({"pair": "nothing"}, 404, "pair"),
        ({"choice": "both"}, 400, "choice"),
        ({"milliseconds": -1}, 400, "milliseconds"),
        ({"more": 1}, 400, "more"),
        ({"rater": "x" * 5000}, 413, "body"),
    ],
)
def test_wrong_votes_are_refused(
    study_client: TestClient, book: VoteBook, change: dict[str, Any], status: int, field: str
) -> None:
    token = ahead(study_client)["pair"]["token"]
    ballot = {"rater": "Ada", "pair": token, "choice": "left", "milliseconds": 1, **change}
    answer = study_client.post(f"{API}/votes", json=ballot)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert book.ballots("faces") == []


def test_a_vote_is_json(study_client: TestClient) -> None:
    answer = study_client.post(f"{API}/votes", content=b"left")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "address", ["/api/studies/other/next?rater=A", f"{API}/images/x/left?rater=A", f"{API}/nothing"]
)
def test_what_is_not_there(study_client: TestClient, address: str) -> None:
    assert study_client.get(address).status_code == 404


def test_a_side_is_left_or_right(study_client: TestClient) -> None:
    token = ahead(study_client)["pair"]["token"]
    assert study_client.get(f"{API}/images/{token}/up?rater=Ada").status_code == 404


def image_of(state: dict[str, Any], side: str = "left") -> str:
    return f"{API}/images/{state['pair']['token']}/{side}?rater={state['rater']}"


@pytest.mark.parametrize("how", ["removed", "a folder"])
def test_pairs_of_missing_images_do_not_come(
    study_client: TestClient, study: Study, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    state = ahead(study_client)
    shown = study.showing("Ada", study.pair(state["pair"]["token"]))
    gone = study.images[shown.pair.content][shown.left]
    content = gone.read_bytes()
    gone.unlink()
    if how == "a folder":
        gone.mkdir()
    answer = study_client.get(image_of(state))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UNKNOWN_NAME")
    assert str(gone.parent.parent) not in answer.text
    assert shown.left not in answer.text
    seen = []
    state = ahead(study_client)
    while state["pair"] is not None:
        seen.append(study.pair(state["pair"]["token"]))
        state = vote(study_client, state)
    there = {pair for pair in study.pairs if gone not in study.files(pair)}
    assert (set(seen), len(seen)) == (there, 4)
    assert (state["done"], state["total"]) == (4, 4)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{gone} is not there or cannot be read: raters do not see its pairs"]
    if how == "a folder":
        gone.rmdir()
    gone.write_bytes(content)
    state = ahead(study_client)
    assert (state["done"], state["total"]) == (4, 6)
    assert gone in study.files(study.pair(state["pair"]["token"]))


def test_a_file_that_cannot_be_opened_is_not_there(
    study_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ahead(study_client)

    def refuse(path: Path, *rest: object) -> bool:
        raise PermissionError(13, "Permission denied")

    for name in ("is_file", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refuse)
            answer = study_client.get(image_of(state))
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UNKNOWN_NAME")


def test_raters_are_told_who_sees_their_names(study_client: TestClient) -> None:
    page = study_client.get("/study/faces").text
    assert "stored with your votes, and everybody who opens this page can see it with them" in page


def test_an_image_is_sent_anew_when_it_was_replaced(study_client: TestClient, study: Study) -> None:
    state = ahead(study_client)
    first = study_client.get(image_of(state))
    assert first.headers["cache-control"] == "private, no-cache"
    assert "last-modified" not in first.headers
    known = {"If-None-Match": first.headers["etag"]}
    same = study_client.get(image_of(state), headers=known)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    shown = study.showing("Ada", study.pair(state["pair"]["token"]))
    path = study.images[shown.pair.content][shown.left]
    write_image(path, Picture(np.full((40, 48, 3), 255, np.uint8)))
    new = study_client.get(image_of(state), headers=known)
    assert (new.status_code, new.content) == (200, path.read_bytes())
    assert int(new.headers["content-length"]) == len(new.content)


def test_results_are_live_elo(study_client: TestClient, tmp_path: Path) -> None:
    assert study_client.get(f"{API}/results").json()["standings"] == []
    for rater in ("Ada", "Bo"):
        state = ahead(study_client, rater)
        while state["pair"] is not None:
            lighter = max(("left", "right"), key=lambda side: grey(study_client, state, side))
            state = vote(study_client, state, lighter)
    found = study_client.get(f"{API}/results").json()
    assert (found["votes"], found["raters"], found["pairs"]) == (12, 2, 6)
    # Noisy images are the lightest, sharp ones the darkest.
    assert [one["method"] for one in found["standings"]] == ["noisy", "soft", "sharp"]
    assert [(one["wins"], one["losses"]) for one in found["standings"]] == [(8, 0), (4, 4), (0, 8)]
    for one in found["standings"]:
        assert one["lowest"] < one["strength"] < one["highest"]
    table = tmp_path / "votes.csv"
    table.write_text(study_client.get(f"{API}/votes.csv").text)
    methods = [v._replace(left=v.left[4:], right=v.right[4:]) for v in read_votes(table)]
    assert {one["method"]: one["elo"] for one in found["standings"]} == elo(methods).scores


def test_the_list_of_studies(study_client: TestClient) -> None:
    vote(study_client, ahead(study_client))
    assert study_client.get("/api/studies").json() == [
        {"name": "faces", "contents": 2, "pairs": 6, "votes": 1, "raters": 1}
    ]
