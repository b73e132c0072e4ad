"""Token files: what may stand in them, who is found in them, and that they are read again."""

from __future__ import annotations

import logging
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import InvalidConfig, Unauthenticated
from ranksrgan.contracts.serving import token_file
from ranksrgan.contracts.serving.token_file import TokenFile, hash_token, read_tokens
from ranksrgan.contracts.serving.tokens import _make, main


def make(file: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main([name, "--file", str(file)]) == 0
    return capsys.readouterr().out.strip()


def test_a_token_is_made_and_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    file.write_text("# people\n\n" + f"old  {hash_token('one')}")
    token = make(file, "batch-job.2", capsys)
    assert len(token) == 43
    assert token not in file.read_text()
    assert read_tokens(file) == {hash_token("one"): "old", hash_token(token): "batch-job.2"}
    tokens = TokenFile(file)
    assert tokens.name_of(f"Bearer {token}") == "batch-job.2"
    assert tokens.name_of("bearer one") == "old"


def test_a_further_token_leaves_to_the_server_what_it_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"
    assert main(["first", "--file", str(file)]) == 0
    file.chmod(0o640)
    before = os.umask(0o077)
    try:
        assert main(["second", "--file", str(file)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert len(capsys.readouterr().out.split()) == len(read_tokens(file)) == 2


def test_it_is_noticed_when_a_token_is_another_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"me {hash_token('one')}\n")
    tokens = TokenFile(file)
    tokens.require_still("me", "bearer one")
    for header in ("Bearer two", "Basic one"):
        with pytest.raises(Unauthenticated, match="not known here any more"):
            tokens.require_still("me", header)
    file.write_text(f"another {hash_token('one')}\n")
    monkeypatch.setattr(token_file, "LOOK", 60.0)
    tokens.require_still("me", "Bearer one")  # looked at a moment ago
    monkeypatch.setattr(token_file, "LOOK", 0.0)
    with pytest.raises(Unauthenticated, match="not known here any more"):
        tokens.require_still("me", "Bearer one")
    tokens.require_still("another", "Bearer one")


def test_a_new_file_is_its_owners_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, link = tmp_path / "etc" / "tokens", tmp_path / "link"
    link.symlink_to(file)
    tokens = [make(link, "first", capsys), make(file, "second", capsys)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert list(read_tokens(file)) == [hash_token(token) for token in tokens]


def test_tokens_that_are_made_at_once_are_all_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = atomic.write_text

    def slowly(path: Path, text: str) -> None:
        time.sleep(0.01)
        write(path, text)

    monkeypatch.setattr(atomic, "write_text", slowly)
    names = [f"client-{number}" for number in range(6)]
    with ThreadPoolExecutor(len(names)) as pool:
        codes = list(pool.map(lambda name: _make(name, tmp_path / "tokens"), names))
    assert codes == [0] * 6
    assert sorted(read_tokens(tmp_path / "tokens").values()) == names
    assert {hash_token(token) for token in capsys.readouterr().out.split()} == set(
        read_tokens(tmp_path / "tokens")
    )


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer two", "Basic one", "one", "Bearer öne"]
)
def test_anybody_else_is_not(tmp_path: Path, header: str | None) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"me {hash_token('one')}\n")
    with pytest.raises(Unauthenticated, match="token") as caught:
        TokenFile(file).name_of(header)
    assert caught.value.code == "UNAUTHENTICATED"
    assert header is None or len(header) < 9 or header not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no token in it"),
        ("# nobody\n", "has no token in it"),
        ("me secret-token\n", "line 1 should be NAME and 64 small hexadecimal digits"),
        (f"# me\nme {'A' * 64}", "line 2 should be NAME"),
        (f"{'a' * 64}", "line 1 should be NAME"),
        (f"../me {'a' * 64}", "line 1 should be NAME"),
        (f"me {'a' * 64}\nme {'b' * 64}", "line 2 has the name me a second time"),
        (f"me {'a' * 64}\nyou {'a' * 64}", "line 2 has a token that stands there already"),
    ],
)
def test_what_is_no_token_file(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(InvalidConfig, match=message) as caught:
        read_tokens(file)
    assert str(file) in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.field == "tokens"


def test_a_file_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"me {'a' * 64}\n")
    file.chmod(0o666)
    with pytest.raises(InvalidConfig, match=r"everybody may write to .*: chmod o-w"):
        read_tokens(file)


def test_a_changed_file_is_read_again_and_a_damaged_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    first = make(file, "first", capsys)
    tokens = TokenFile(file)
    second = make(file, "second", capsys)
    assert tokens.name_of(f"Bearer {second}") == "second"
    file.write_text(f"second {hash_token(second)}\n")
    with pytest.raises(Unauthenticated):
        tokens.name_of(f"Bearer {first}")
    with caplog.at_level(logging.ERROR):
        file.write_text("damaged")
        assert tokens.name_of(f"Bearer {second}") == "second"
        file.unlink()
        assert tokens.name_of(f"Bearer {second}") == "second"
    assert [record.getMessage().count("stay those from before") for record in caplog.records] == [
        1,
        1,
    ]


@pytest.mark.parametrize("left", ["", "# nobody any more\n"])
def test_the_last_token_can_be_taken_out(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    left: str,
) -> None:
    file = tmp_path / "tokens"
    header = f"Bearer {make(file, 'only', capsys)}"
    line = file.read_text()
    tokens = TokenFile(file)
    file.write_text(left)
    assert tokens.name_of(header) == "only"  # somebody may be writing it at the moment
    long_ago = time.time() - 60
    os.utime(file, (long_ago, long_ago))
    with pytest.raises(Unauthenticated, match="not known here"):
        tokens.name_of(header)
    assert "has no token in it any more: nobody may call" in caplog.text
    file.write_text(line)
    assert tokens.name_of(header) == "only"


def test_the_command_refuses_what_would_not_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tokens"
    make(file, "me", capsys)
    before = file.read_text()
    assert main(["me", "--file", str(file)]) == 1
    assert "has a token of me; remove its line first" in capsys.readouterr().err
    assert main(["a b", "--file", str(file)]) == 1
    assert "'a b' is no name" in capsys.readouterr().err
    assert file.read_text() == before
    assert main(["you"]) == 0
    token, line = (row.split() for row in capsys.readouterr().out.splitlines())
    assert line == ["line", "you", hash_token(token[1])]
