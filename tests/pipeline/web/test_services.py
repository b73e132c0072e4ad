"""What the services offer, while one of them hangs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from ranksrgan.contracts.errors import DeadlineExceeded
from ranksrgan.pipeline.web import services
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.services import Offer
from ranksrgan.pipeline.web.study import Study
from ranksrgan.pipeline.web.vote_book import VoteBook
from tests.pipeline.web.conftest import PATIENCE


def test_a_service_that_hangs_is_asked_once_for_all_and_stops_no_votes(
    study: Study, book: VoteBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked = threading.Event(), []

    def hang(before: Offer) -> Offer:
        asked.append(before.role)
        assert release.wait(PATIENCE)
        return Offer(before.role, before.service, DeadlineExceeded(f"asked {len(asked)} times"))

    monkeypatch.setattr(services, "_ask", hang)
    app = make_app({"srgan": "grpc://127.0.0.1:9"}, {"faces": study}, book)
    with (
        TestClient(app, base_url="http://localhost:8080") as client,
        ThreadPoolExecutor(45) as pool,
    ):
        calls = [pool.submit(client.get, "/api/services") for _ in range(45)]
        while not asked:
            time.sleep(0.01)
        # Starlette has 40 threads for what may block, and /next needs one of them.
        state = client.get("/api/studies/faces/next", params={"rater": "Ada"}).json()
        ballot = {"rater": "Ada", "pair": state["pair"]["token"], "choice": "left"}
        vote = client.post("/api/studies/faces/votes", json={**ballot, "milliseconds": 5})
        assert vote.json()["done"] == 1
        assert not any(call.done() for call in calls)
        release.set()
        told = [call.result().json()["services"][0]["error"] for call in calls]
        assert {error["message"] for error in told} == {"asked 1 times"}
        assert len(told) == 45

        # Kept for a moment, and then asked anew.
        began = time.monotonic()
        while len(asked) == 1:
            client.get("/api/services")
            assert time.monotonic() < began + PATIENCE
            time.sleep(0.05)
        assert time.monotonic() - began > 1
        assert asked == ["srgan", "srgan"]


def test_what_nobody_foresaw_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(before: Offer) -> Offer:
        raise RuntimeError("/secret/path")

    app = make_app({"srgan": "grpc://127.0.0.1:9"}, {}, None)
    with TestClient(app, base_url="http://localhost:8080", raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(services, "_ask", broken)
            assert client.get("/api/services").status_code == 500
        monkeypatch.setattr(services, "_ask", lambda before: before)
        assert client.get("/api/services").json()["services"][0]["role"] == "srgan"
