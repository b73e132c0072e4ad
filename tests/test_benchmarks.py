"""The benchmarks run one after the other, also where one of them fails or finds no GPU."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def test_what_a_gpu_does_is_left_out_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench_gpu"])
    monkeypatch.syspath_prepend(ROOT)
    runpy.run_module("benchmarks.bench_gpu", run_name="__main__")  # finds those beside it too
    assert capsys.readouterr().out == "no GPU: left out\n"


def test_make_bench_goes_on_behind_one_that_fails(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    for name, text in (
        ("a", "print('of a')"),
        ("b", "raise SystemExit(3)"),
        ("c", "print('of c')"),
    ):
        (tmp_path / f"benchmarks/bench_{name}.py").write_text(text)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    command = ["make", "bench", "-o", ".venv/dev.ready"]  # nothing is to be installed
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def bench() -> tuple[int, list[str], str]:
        made = subprocess.run(
            command, cwd=tmp_path, env=ours, capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout.splitlines()[-5:], made.stderr

    status, shown, errors = bench()
    assert status != 0
    b = "benchmarks/bench_b.py"
    assert shown == [
        "== benchmarks/bench_a.py",
        "of a",
        f"== {b}",
        "== benchmarks/bench_c.py",
        "of c",
    ]
    assert errors.startswith(f"failed: {b}\n")
    (tmp_path / b).unlink()
    status, shown, errors = bench()
    assert (status, errors) == (0, "")
    assert shown[-4:] == ["== benchmarks/bench_a.py", "of a", "== benchmarks/bench_c.py", "of c"]
