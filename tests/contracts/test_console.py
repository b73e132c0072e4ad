from __future__ import annotations

import io
import json
import os
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
