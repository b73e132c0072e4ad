from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.console import add_settings, parse, run

NAME = os.fsdecode(b"caf\xe9.png")  # Latin-1, as disks of long ago have it


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "niqe ↓ caf\\udce9.png\n".encode()),
        ("latin-1", b"niqe \\u2193 caf\\udce9.png\n"),
    ],
)
def test_what_a_terminal_has_no_letters_for_is_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes
) -> None:
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding=encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", terminal)

    def command() -> int:
        sys.stdout.write(f"niqe ↓ {NAME}\n")
        return 0

    assert run(command) == 0
    terminal.flush()
    assert written.getvalue() == expected


def test_a_file_of_json_has_the_name_again(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "a.json", json.dumps({"image": NAME}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text())["image"] == NAME


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_has_no_room_is_told_in_a_line(unbuffered: str) -> None:
    script = "from ranksrgan.contracts.console import run; raise SystemExit(run(lambda: print(1)))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.stderr == "error: standard output: No space left on device\n"
    assert done.returncode == 1


def test_whoever_reads_no_further_is_told_in_a_line() -> None:
    script = (
        "from ranksrgan.contracts.console import run\n"
        "def lines():\n"
        "    for line in range(100_000): print(line)\n"
        "raise SystemExit(run(lines))"
    )
    command = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == "error: standard output: Broken pipe\n"
        assert process.wait() == 1


@pytest.mark.skipif(os.name != "posix", reason="closes by a shell")
@pytest.mark.parametrize(("closed", "told"), [(">&-", "error: no such thing\n"), ("2>&-", "1\n")])
def test_a_closed_output_is_no_mistake_of_the_command(closed: str, told: str) -> None:
    script = (
        "from ranksrgan.contracts.console import run\n"
        "from ranksrgan.contracts.errors import UnknownName\n"
        "def command():\n"
        "    print(1)\n"
        "    raise UnknownName('no such thing')\n"
        "raise SystemExit(run(command))"
    )
    line = f'exec "{sys.executable}" -c "{script}" {closed}'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (1, told)


def test_the_version_of_a_command_is_its_packages(capsys: pytest.CaptureFixture[str]) -> None:
    for command, package in (("ranksrgan", "ranksrgan-pipeline"), ("ranksrgan-metrics",) * 2):
        with pytest.raises(SystemExit) as ended:
            parse(argparse.ArgumentParser(prog=command), ["--version"])
        assert ended.value.code == 0
        assert capsys.readouterr().out == f"{command} {metadata.version(package)}\n"


def test_an_error_of_another_kind_is_a_mistake_of_ours() -> None:
    def command() -> int:
        raise OSError(22, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        run(command)


def settings_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trial")
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make")
    make.add_argument("file")
    make.add_argument("--flag")
    make.add_argument("--remote", action="store_true")
    add_settings(make, "overrides", "such as a=1")
    commands.add_parser("look").add_argument("names", nargs="*")
    return parser


@pytest.mark.parametrize(
    "line",
    [
        "make f a=1 b=2 c=",
        "make f --flag x a=1 b=2 c=",
        "make --flag x f a=1 b=2 --remote c=",
        "make f a=1 --flag=x b=2 --remote c=",
        "make f --remote a=1 -- b=2 c=",
    ],
)
def test_settings_may_stand_between_flags(line: str) -> None:
    found = parse(settings_parser(), line.split())
    assert (found.file, found.overrides) == ("f", ["a=1", "b=2", "c="])


def test_without_settings_there_are_none() -> None:
    assert parse(settings_parser(), ["make", "f", "--remote"]).overrides == []
    assert parse(settings_parser(), ["look", "a=1", "b"]).names == ["a=1", "b"]


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("make f a=1 --flag x word b=2", "word"),
        ("make f a=1 --falg x b=2", "--falg"),
        ("make f a=1 --remote --set=b", "--set=b"),
        ("look a=1 --flag b=2", "--flag"),
    ],
)
def test_other_words_are_refused_as_ever(
    line: str, unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(settings_parser(), line.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"trial: error: unrecognized arguments: {unknown}" in said
    assert "b=2" not in said.splitlines()[-1] or "look" in line
