from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.console import run

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


def test_an_error_of_another_kind_is_a_mistake_of_ours() -> None:
    def command() -> int:
        raise OSError(22, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        run(command)
