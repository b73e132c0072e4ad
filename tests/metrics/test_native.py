"""Finding, compiling and loading the native operators, each in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.errors import InvalidConfig
from ranksrgan.metrics import native, native_build, native_library
from ranksrgan.metrics.mscn import mscn

COMPILER = os.environ.get("CXX", "c++").split()[0]

# Calls an operator twice and reports what served, what was logged and what came out.
PROGRAM = """
import json, logging
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append((record.levelname, record.name, record.getMessage()))
logging.getLogger("ranksrgan").addHandler(handler)
logging.getLogger("ranksrgan").setLevel(logging.INFO)
import torch
from pathlib import Path
from ranksrgan.metrics import native
from ranksrgan.metrics.mscn import mscn
from ranksrgan.metrics.patch_crops import patch_crops
AHEAD_OF_TIME = {ahead_of_time!r}
if AHEAD_OF_TIME:
    native.AHEAD_OF_TIME = Path(AHEAD_OF_TIME)
planes = torch.arange(42, dtype=torch.float64).square().reshape(1, 6, 7)
sums = [mscn(planes).normalised.abs().sum().item() for _ in range(2)]
patch_crops(planes[None], 3, 2)
state = native.status()
print(json.dumps(dict(
    sums=sums, records=records, mode=state.mode, in_use=state.in_use, reason=state.reason,
    path=str(state.path), facts=dict(state.facts),
)))
"""


def start(
    cache: Path, mode: str = "auto", path: str | None = None, ahead_of_time: Path | None = None
) -> subprocess.Popen[str]:
    environment = dict(os.environ, XDG_CACHE_HOME=str(cache), RANKSRGAN_NATIVE=mode)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if path is not None:
        environment["PATH"] = path
    # A folder that is not there unless a test says otherwise: a real one must not interfere.
    program = PROGRAM.format(ahead_of_time=str(ahead_of_time or cache / "none"))
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, object]:
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert errors == ""
    assert output.count("\n") == 1  # nothing else on the standard output
    report: dict[str, object] = json.loads(output)
    return report


@pytest.fixture
def expected() -> float:
    planes = torch.arange(42, dtype=torch.float64).square().reshape(1, 6, 7)
    return float(mscn(planes).normalised.abs().sum())


@pytest.fixture
def library() -> Path:
    """The folder with the library that this process uses."""
    state = native.status()
    if state.path is None:
        pytest.skip(f"no native operators: {state.reason}")
    return state.path.parent


@pytest.fixture
def without_compiler(tmp_path: Path) -> str:
    empty = tmp_path / "bin"
    empty.mkdir()
    return str(empty)


def test_operators_serve_where_there_is_a_compiler() -> None:
    if os.environ.get(native_library.VARIABLE) == "off":
        pytest.skip(f"{native_library.VARIABLE}=off")
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER}")
    state = native.status()
    assert state.in_use, state.reason
    assert state.path is not None
    assert state.path.is_file()
    assert set(state.facts) == {"compiler", "c++", "simd", "cuda", "torch"}
    assert state.facts["torch"] == str(torch.__version__).split("+")[0]
    assert int(state.facts["c++"]) >= 17


def test_off(tmp_path: Path, expected: float) -> None:
    report = report_of(start(tmp_path, mode="off"))
    assert report["in_use"] is False
    assert report["reason"] == "RANKSRGAN_NATIVE=off"
    assert report["records"] == []
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
    assert list(tmp_path.iterdir()) == []


def test_auto_without_compiler_warns_once(
    tmp_path: Path, without_compiler: str, expected: float
) -> None:
    report = report_of(start(tmp_path / "cache", path=without_compiler))
    assert report["in_use"] is False
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
    assert report["records"] == [
        [
            "WARNING",
            "ranksrgan.metrics.native",
            "the native operators are not in use, the slower PyTorch twins serve: "
            f"no C++ compiler ({COMPILER}) was found",
        ]
    ]


def test_require_without_compiler(tmp_path: Path, without_compiler: str) -> None:
    process = start(tmp_path / "cache", mode="require", path=without_compiler)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "ranksrgan.contracts.errors.NotSupported: RANKSRGAN_NATIVE=require, but the native "
        f"operators cannot be had: no C++ compiler ({COMPILER}) was found"
    )


def test_unknown_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native_library.VARIABLE, "on")
    monkeypatch.setattr(native, "_status", None)
    with pytest.raises(InvalidConfig, match="one of auto, require, off wanted, got on"):
        native.status()


def test_compiler_that_fails(tmp_path: Path, expected: float) -> None:
    """Whatever goes wrong in the build, the reason is one line and the twins serve."""
    if shutil.which("ninja") is None:
        pytest.skip("no ninja")
    folder = tmp_path / "bin"
    folder.mkdir()
    compiler = folder / COMPILER
    compiler.write_text(
        '#!/bin/sh\nif [ "$1" = -v ]; then echo "gcc version 12.2.0" >&2; exit; fi\n'
        'case "$*" in *-dump*) echo 12.2.0; exit;; esac\n'
        'echo "mscn.cpp:1:1: error: the disk is on fire" >&2; exit 1\n'
    )
    compiler.chmod(0o755)
    cache = tmp_path / "cache"
    report = report_of(start(cache, path=f"{folder}{os.pathsep}{os.environ['PATH']}"))
    assert report["in_use"] is False
    assert report["reason"] == "compiling failed: mscn.cpp:1:1: error: the disk is on fire"
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
    levels = [record[0] for record in report["records"]]  # type: ignore[attr-defined]
    assert levels == ["INFO", "WARNING"]
    assert not list(cache.rglob("*.so"))
    assert not list(cache.rglob("build-*"))


def test_cache_that_cannot_be_made(tmp_path: Path, expected: float) -> None:
    # A file where the folder would be: stops root too, which a mode of 0555 does not.
    blocked = tmp_path / "cache"
    blocked.write_text("")
    report = report_of(start(blocked))
    assert report["in_use"] is False
    assert "Not a directory" in str(report["reason"])
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)


@pytest.mark.slow  # all operators are compiled once more
@pytest.mark.timeout(1000)
def test_processes_at_once_compile_once_and_survive_what_a_killed_build_left(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch, expected: float
) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = native_build.cache_folder()
    abandoned = folder / "build-abandoned"
    abandoned.mkdir(parents=True)
    (abandoned / "lock").write_text("")
    (folder / native_library.LIBRARY).write_bytes(b"\x7fELF and no more")
    (folder / native_library.RECORD).write_text(
        json.dumps(native_library.identity() | {"sha256": "0"})
    )

    processes = [start(tmp_path, mode="require") for _ in range(4)]
    reports = [report_of(process) for process in processes]
    compiled = 0
    for report in reports:
        assert report["in_use"] is True
        assert report["path"] == str(folder / native_library.LIBRARY)
        assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
        messages = [record[2] for record in report["records"]]  # type: ignore[attr-defined]
        compiled += sum("compiling the native operators" in message for message in messages)
    assert compiled == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        native_library.RECORD,
        "lock",
        native_library.LIBRARY,
    ]


def test_ahead_of_time_is_taken_first(
    tmp_path: Path, library: Path, without_compiler: str, expected: float
) -> None:
    report = report_of(
        start(tmp_path / "cache", "require", path=without_compiler, ahead_of_time=library)
    )
    assert report["in_use"] is True
    assert report["reason"] == "built ahead of time"
    assert report["path"] == str(library / native_library.LIBRARY)
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
    assert report["records"] == []


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (
            {"torch": "1.0.0"},
            f"was built for torch 1.0.0, and this is torch {torch.__version__}: build it again "
            "with `python -m ranksrgan.metrics.native_build`",
        ),
        # Without this check the process dies of an instruction that nothing catches.
        ({"needs": "avx9000"}, "was built for a processor with avx9000, which this one has not"),
    ],
)
def test_ahead_of_time_for_another_place(
    tmp_path: Path,
    library: Path,
    without_compiler: str,
    expected: float,
    fact: dict[str, str],
    reason: str,
) -> None:
    folder = tmp_path / "_native"
    shutil.copytree(library, folder)
    record = json.loads((folder / native_library.RECORD).read_text())
    (folder / native_library.RECORD).write_text(json.dumps(record | fact))
    report = report_of(start(tmp_path / "cache", path=without_compiler, ahead_of_time=folder))
    assert report["in_use"] is False
    assert report["sums"] == pytest.approx([expected] * 2, abs=1e-10)
    assert f"{folder / native_library.LIBRARY} {reason}" in str(report["reason"])
    assert "no C++ compiler" in str(report["reason"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("library missing", "holds no complete library"),
        ("record missing", "holds no complete library"),
        ("record cut off", "holds no complete library"),
        ("record no table", "holds no complete library"),
        ("library cut off", r"is not the file that .*built\.json describes"),
        ("other python", "was built for python cpython-27, and this is python"),
        ("better processor", "for a processor with avx9000, fma9, which this one has not: build"),
        ("no library at all", "does not load"),
    ],
)
def test_damaged_library_is_not_loaded(tmp_path: Path, damage: str, message: str) -> None:
    library, record = tmp_path / native_library.LIBRARY, tmp_path / native_library.RECORD
    content = b"not a shared object"
    facts = native_library.identity() | {"sha256": hashlib.sha256(content).hexdigest()}
    library.write_bytes(content)
    record.write_text(json.dumps(facts))
    match damage:
        case "library missing":
            library.unlink()
        case "record missing":
            record.unlink()
        case "record cut off":
            record.write_text(record.read_text()[:20])
        case "record no table":
            record.write_text("[1]")
        case "library cut off":
            library.write_bytes(content[:5])
        case "other python":
            record.write_text(json.dumps(facts | {"python": "cpython-27"}))
        case "better processor":
            if not native_library.processor_features():
                pytest.skip("this system does not say what its processor can do")
            one = native_library.processor_features().split()[0]
            record.write_text(json.dumps(facts | {"needs": f"{one} avx9000 fma9"}))
    with pytest.raises(native_library.UnusableLibrary, match=message):
        native_library.load(tmp_path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86")
def test_what_code_for_a_processor_needs() -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER}")
    assert set(native_build.needed_features("x86-64")) == set()
    third = set(native_build.needed_features("x86-64-v3"))
    assert third >= {"sse4_2", "avx2", "fma", "bmi2", "abm", "movbe"}
    assert "avx512f" not in third
    assert set(native_build.needed_features("x86-64-v4")) - third >= {"avx512f", "avx512vl"}
    here = native_build.needed_features("native")
    assert set(here) <= set(native_library.processor_features().split())


def test_key_follows_what_decides_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = native_build.cache_folder()
    assert native_build.cache_folder() == before
    with monkeypatch.context() as patch:
        patch.setattr(native_build, "FLAGS", ["-O0"])
        assert native_build.cache_folder().name != before.name
    with monkeypatch.context() as patch:
        patch.setattr(native_library, "processor_features", lambda: "none")
        assert native_build.cache_folder().name != before.name
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        assert native_build.cache_folder().name != before.name
    sources = tmp_path / "csrc"
    shutil.copytree(native_build.SOURCES, sources)
    with monkeypatch.context() as patch:
        patch.setattr(native_build, "SOURCES", sources)
        assert native_build.cache_folder().name == before.name
        with (sources / "window.h").open("a") as header:
            header.write("\n")
        assert native_build.cache_folder().name != before.name


def test_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert native_build.cache_folder().parent == Path("/elsewhere/ranksrgan/native")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert native_build.cache_folder().parent == Path("/home/someone/.cache/ranksrgan/native")
