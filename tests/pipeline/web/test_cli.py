"""``ranksrgan web`` and ``ranksrgan web export-votes``."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from ranksrgan.metrics import read_votes
from ranksrgan.pipeline.cli import main
from ranksrgan.pipeline.web.study import Pair, Showing, Study
from ranksrgan.pipeline.web.vote_book import VoteBook
from ranksrgan.rankdata.human import VotesConfig, build_from_judgements
from tests.pipeline.web.conftest import PATIENCE

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def votes(study: Study, book: VoteBook, tmp_path: Path) -> Path:
    """A file with three votes."""
    for showing in study.ahead("Ada", ())[:3]:
        book.record("faces", "Ada", showing, "left", 10)
    return tmp_path / "votes.sqlite"


def test_votes_are_exported(
    votes: Path, study_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, images = tmp_path / "votes.csv", tmp_path / "versions"
    command = ["web", "export-votes", "faces", "--votes", str(votes), "-o", str(output)]
    assert main([*command, "--images", str(study_folder), str(images)]) == 0
    assert "votes.csv: 3 votes" in capsys.readouterr().out
    names = {path.stem for path in images.iterdir()}
    assert len(names) == 6
    for vote in read_votes(output):
        assert {vote.left, vote.right} <= names
        assert vote.outcome == 1


def test_votes_on_images_that_are_gone_are_left_out(
    study: Study, book: VoteBook, study_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    for showing in study.ahead("Ada", ()):
        book.record("faces", "Ada", showing, "left", 10)
    (study_folder / "cat" / "soft.png").unlink()
    output, images = tmp_path / "votes.csv", tmp_path / "versions"
    command = ["web", "export-votes", "faces", "--votes", str(tmp_path / "votes.sqlite")]
    command += ["-o", str(output)]
    assert main([*command, "--images", str(study_folder), str(images)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{output}: 4 votes\n"
    assert said.err.splitlines() == [
        f"2 of 6 votes are on images that {study_folder} lacks, and left out: cat/soft (2 votes)",
        f"{images}: 5 images",
    ]
    names = {path.stem for path in images.iterdir()}
    assert {item for vote in read_votes(output) for item in (vote.left, vote.right)} == names
    for content in ("cat", "cup"):
        path = tmp_path / "references" / f"{content}.png"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(study_folder / "cup" / "sharp.png", path)
    config = VotesConfig(
        output=tmp_path / "ranks",
        references=tmp_path / "references",
        distorted=images,
        votes=output,
        val=0,
    )
    contents = build_from_judgements(config).contents
    assert {c.source: c.levels for c in contents} == {
        "cat": ("noisy", "sharp"),
        "cup": ("noisy", "sharp", "soft"),
    }
    assert main(command) == 0
    assert len(read_votes(output)) == 6


def test_votes_on_none_of_the_images_are_refused(
    votes: Path, study_folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    for content in ("cat", "cup"):
        for method in ("sharp", "soft", "noisy"):
            path = study_folder / content / f"{method}.png"
            path.rename(path.with_stem(f"{method}2"))
    command = ["web", "export-votes", "faces", "--votes", str(votes), "-o", str(tmp_path / "v.csv")]
    assert main([*command, "--images", str(study_folder), str(tmp_path / "versions")]) == 1
    assert "3 of 3 votes are on images that" in capsys.readouterr().err
    assert not (tmp_path / "v.csv").exists()


def test_exported_votes_replace_no_input(
    votes: Path, study_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(study_folder.rglob("*.png"))
    before = votes.read_bytes(), image.read_bytes()
    command = ["web", "export-votes", "faces", "--votes", str(votes)]
    command += ["--images", str(study_folder), str(tmp_path / "versions"), "-o"]
    for file in (votes, image):
        assert main([*command, str(file)]) == 1
        said = f"error: {file} is an input and would be replaced: name another file with -o\n"
        assert capsys.readouterr().err == said
    assert (votes.read_bytes(), image.read_bytes()) == before


@pytest.mark.parametrize("linked", [False, True])
def test_exported_votes_replace_nothing_that_the_book_has_open(
    votes: Path, book: VoteBook, linked: bool, tmp_path: Path, capsys: Capture
) -> None:
    given = votes
    if linked:
        given = tmp_path / "link.sqlite"
        given.symlink_to(votes)
    before = book.ballots("faces")
    for added in ("-wal", "-shm", "-journal"):
        output = votes.with_name(f"{votes.name}{added}")
        command = ["web", "export-votes", "faces", "--votes", str(given), "-o", str(output)]
        assert main(command) == 1
        said = f"error: {output} is an input and would be replaced: name another file with -o\n"
        assert capsys.readouterr().err == said
    assert VoteBook(given, read_only=True).ballots("faces") == before


def test_votes_go_to_standard_output(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "export-votes", "faces", "--votes", str(votes)]) == 0
    assert capsys.readouterr().out.startswith("left,right,winner,")


def test_the_file_of_votes_is_named_before_the_action_too(
    votes: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    showing = Showing(Pair("cat", "sharp", "soft"), "sharp", "soft")
    VoteBook(votes).record("faces", "Zoë", showing, "left", 10)
    assert main(["web", "--votes", str(votes), "export-votes", "faces"]) == 0
    assert "Zoë" in capsysbinary.readouterr().out.decode("utf-8")


def test_a_study_without_votes_is_named(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "export-votes", "faeces", "--votes", str(votes)]) == 1
    assert "has no vote of a study faeces, only of faces" in capsys.readouterr().err


def test_a_missing_file_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nothing.sqlite"
    assert main(["web", "export-votes", "faces", "--votes", str(path)]) == 1
    assert f"there is no file {path}" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--listen", "8080", "--metrics", "grpc://h:1"], "'8080': listen on HOST:PORT"),
        (["--listen", "h:99999", "--metrics", "grpc://h:1"], "'h:99999': listen on HOST:PORT"),
        (["--metrics", "h:1"], "h:1: write grpc://HOST:PORT or unix:///PATH.sock"),
        (["--study", "faces=/nowhere"], "/nowhere is not a folder"),
    ],
)
def test_what_cannot_be_served_is_said(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", *flags]) == 1
    assert f"error: {message}" in capsys.readouterr().err


def test_without_services_and_studies_it_uses_those_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[dict[str, str]] = []

    def serve(listen: str, services: dict[str, str], *rest: object, **more: object) -> int:
        seen.append(services)
        return 0

    monkeypatch.setattr("ranksrgan.pipeline.web.app.serve", serve)
    for flags in ([], ["--srgan", "grpc://h:1"], ["--study", f"s={tmp_path}"]):
        assert main(["web", *flags]) == 0
    assert {role: address.rpartition(":")[2] for role, address in seen[0].items()} == {
        "metrics": "50051",
        "srgan": "50053",
        "ranker": "50052",
    }
    assert seen[1:] == [{"srgan": "grpc://h:1"}, {}]


def test_a_taken_address_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["web", "--listen", f"127.0.0.1:{port}", "--metrics", "grpc://h:1"]) == 1
    assert f"somebody listens on 127.0.0.1:{port} already" in capsys.readouterr().err


def test_what_must_be_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("ranksrgan.pipeline.web.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["web", "--metrics", "grpc://h:1"]) == 1
    told = capsys.readouterr().err
    assert "needs uvicorn: in the checkout, pip install 'packages/pipeline[web]'" in told


def test_it_serves_until_it_is_told_to_stop(study_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ranksrgan.pipeline.cli", "web", "--listen", "127.0.0.1:0"]
    command += ["--study", f"faces={study_folder}", "--votes", str(tmp_path / "v.sqlite")]
    serving = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    connections = ExitStack()
    try:
        assert serving.stderr is not None
        lines = iter(serving.stderr.readline, "")
        found = (re.search(r"the page is at (http://127.0.0.1:\d+)", line) for line in lines)
        address = next(match[1] for match in found if match)
        host, _, port = address.rpartition("//")[2].rpartition(":")
        for _ in range(120):  # which nobody uses
            connections.enter_context(socket.create_connection((host, int(port))))
        with urlopen(f"{address}/api/studies/faces/next?rater=Ada", timeout=PATIENCE) as answer:
            token = json.load(answer)["pair"]["token"]
        body = f'{{"rater": "Ada", "pair": "{token}", "choice": "tie", "milliseconds": 5}}'
        with urlopen(
            Request(f"{address}/api/studies/faces/votes", body.encode()), timeout=PATIENCE
        ) as answer:
            assert json.load(answer)["done"] == 1
        connections.close()
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(PATIENCE) == 0
    finally:
        connections.close()
        serving.kill()
        serving.communicate()
    assert [ballot.choice for ballot in VoteBook(tmp_path / "v.sqlite").ballots("faces")] == ["tie"]
