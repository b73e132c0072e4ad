"""Regenerate `ranksrgan.contracts.v1` from the workspace's ``protos/``; ``--check`` only compares.

Needs grpcio-tools at the version that the root pyproject.toml pins. The proto path equals the
import path, so nothing of what protoc writes is patched.

``--descriptors FILE`` writes what protoc has read, with everything that it imports: buf would fetch
the imports of other people's protos from its registry, and lints this instead.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import google.api
import google.longrunning
import google.rpc
from grpc_tools import protoc

WORKSPACE = Path(__file__).resolve().parents[2]
PROTOS = WORKSPACE / "protos"
PACKAGE = WORKSPACE / "packages" / "contracts"
STUBS = Path("ranksrgan/contracts/v1")
# Another package may not stand in the folder of ours.
INFERENCE = STUBS / "inference"


def generate(into: Path) -> None:
    for folder in (STUBS, INFERENCE):
        into.joinpath(folder).mkdir(parents=True, exist_ok=True)
        into.joinpath(folder, "__init__.py").write_text(
            '"""Generated from protos/: make proto."""\n'
        )
    run_protoc(f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}")


def run_protoc(*outputs: str) -> None:
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / STUBS).rglob("*.proto"))
    (longrunning,), (api,), (rpc,) = (
        package.__path__ for package in (google.longrunning, google.api, google.rpc)
    )
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            # googleapis-common-protos, where this one has another name than its descriptor.
            f"--proto_path=google/longrunning/operations.proto={longrunning}/operations_proto.proto",
            f"--proto_path=google/api={api}",
            f"--proto_path=google/rpc={rpc}",
            *outputs,
            *sources,
        ]
    )
    if status != 0:
        raise SystemExit(f"protoc failed with status {status}")


def stubs_in(root: Path) -> set[str]:
    return {
        str(path.relative_to(root))
        for folder in (STUBS, INFERENCE)
        for path in (root / folder).iterdir()
        if path.is_file()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the stubs are out of date")
    parser.add_argument("--descriptors", metavar="FILE", help="write what protoc has read to FILE")
    arguments = parser.parse_args()
    if arguments.descriptors:
        run_protoc(
            f"--descriptor_set_out={arguments.descriptors}",
            "--include_imports",
            "--include_source_info",
        )
        return 0
    if not arguments.check:
        generate(PACKAGE)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, kept = stubs_in(Path(scratch)), stubs_in(PACKAGE)
        _, different, missing = filecmp.cmpfiles(scratch, PACKAGE, sorted(fresh), shallow=False)
    stale = sorted({*different, *missing, *(kept - fresh)})
    if stale:
        print(f"out of date, run make proto: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
