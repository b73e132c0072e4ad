"""Who may ask, and what the browser may do with the answer."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

import ranksrgan.pipeline.web
from ranksrgan.pipeline.web.app import make_app
from ranksrgan.pipeline.web.guard import AtMost

PAGES = Path(ranksrgan.pipeline.web.__file__).parent / "pages"
ADDRESSES = ["/", "/study", "/study/faces", "/study/faces/results", "/pages/style.css"]

VOTE = {"rater": "Ada", "pair": "x", "choice": "left", "milliseconds": 1}


@pytest.mark.parametrize(
    "address", [*ADDRESSES, "/api/services", "/api/studies/no/next", "/nowhere"]
)
def test_every_answer_has_a_strict_policy(study_client: TestClient, address: str) -> None:
    headers = study_client.get(address).headers
    policy = headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("address", ADDRESSES)
def test_pages_are_there(study_client: TestClient, address: str) -> None:
    assert study_client.get(address).status_code == 200


def test_pages_ask_nobody_else_and_need_no_exception_to_the_policy() -> None:
    for path in PAGES.iterdir():
        text = path.read_text()
        others = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+", text))
        assert others <= {"http://www.w3.org"}, path  # the name of SVG
        if path.suffix == ".html":
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_change_nothing(study_client: TestClient, headers: dict[str, str]) -> None:
    for address in ("/api/studies/faces/votes", "/api/comparisons"):
        answer = study_client.post(address, json=VOTE, headers=headers)
        assert answer.status_code == 403
        assert "only pages of this server" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://LOCALHOST:8080"},  # behind a proxy with encryption
    ],
)
def test_our_own_pages_and_programs_may(study_client: TestClient, headers: dict[str, str]) -> None:
    answer = study_client.post("/api/studies/faces/votes", json=VOTE, headers=headers)
    assert answer.status_code == 404  # of the pair: the request was read


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "", "[::1", "localhost.evil"]
)
def test_unknown_hosts_are_refused(study_client: TestClient, host: str) -> None:
    answer = study_client.get("/api/studies", headers={"Host": host})
    assert answer.status_code == 403
    assert "not known as" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8080", "Lab.example:80"])
def test_known_hosts_are_not(host: str) -> None:
    with TestClient(make_app({}, {}, None, hosts=["lab.example"])) as client:
        assert client.get("/api/studies", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "address",
    ["/pages/../app.py", "/pages/..%2fapp.py", "/pages/%2e%2e/app.py", "/pages//etc/passwd"],
)
def test_nothing_but_the_pages_is_served(study_client: TestClient, address: str) -> None:
    answer = study_client.get(address)
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_errors_of_the_api_are_json(study_client: TestClient) -> None:
    assert study_client.get("/api/nothing").json()["error"]["code"] == "UNKNOWN_NAME"
    assert study_client.post("/api/studies").json()["error"]["code"] == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("requests", "each", "message"),
    [(2, None, "2 requests are worked on"), (9, 2, "2 requests of your address are worked on")],
)
def test_no_more_requests_than_some_at_a_time(
    requests: int, each: int | None, message: str
) -> None:
    async def trial() -> tuple[list[Message], int]:
        release, worked = asyncio.Event(), 0

        async def work(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal worked
            await release.wait()
            worked += 1

        async def receive() -> Message:
            return {"type": "http.request"}

        answers: list[Message] = []

        async def send(message: Message) -> None:
            answers.append(message)

        app = AtMost(work, requests, each)
        scope = {"type": "http", "method": "GET", "client": ("10.0.0.1", 5)}
        calls = [asyncio.create_task(app(scope, receive, send)) for _ in range(2)]
        await asyncio.sleep(0)
        await app(scope, receive, send)
        if each is not None:  # another address
            calls.append(asyncio.create_task(app({**scope, "client": ("b", 5)}, receive, send)))
        release.set()
        await asyncio.gather(*calls)
        await app(scope, receive, send)
        return answers, worked

    (start, body), worked = asyncio.run(trial())
    assert start["status"] == 429
    assert json.loads(body["body"])["error"]["code"] == "OVERLOADED"
    assert message in json.loads(body["body"])["error"]["message"]
    assert worked == (3 if each is None else 4)
