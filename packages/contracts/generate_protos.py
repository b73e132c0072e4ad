"""Regenerate `ranksrgan.contracts.v1` from the workspace's ``protos/``; ``--check`` only compares.

Needs grpcio-tools at the version that the root pyproject.toml pins. The proto path equals the
import path, so nothing of what protoc writes is patched.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

WORKSPACE = Path(__file__).resolve().parents[2]
PROTOS = WORKSPACE / "protos"
PACKAGE = WORKSPACE / "packages" / "contracts"
STUBS = Path("ranksrgan/contracts/v1")


def generate(into: Path) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / STUBS).glob("*.proto"))
    into.joinpath(STUBS).mkdir(parents=True, exist_ok=True)
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={into}",
            f"--pyi_out={into}",
            f"--grpc_python_out={into}",
            *sources,
        ]
    )
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")
    into.joinpath(STUBS, "__init__.py").write_text('"""Generated from protos/: make proto."""\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the stubs are out of date")
    if not parser.parse_args().check:
        generate(PACKAGE)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = {path.name for path in Path(scratch, STUBS).iterdir()}
        kept = {path.name for path in (PACKAGE / STUBS).iterdir() if path.is_file()}
        _, different, missing = filecmp.cmpfiles(
            Path(scratch, STUBS), PACKAGE / STUBS, sorted(fresh), shallow=False
        )
    stale = sorted({*different, *missing, *(kept - fresh)})
    if stale:
        print(f"out of date, run make proto: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
