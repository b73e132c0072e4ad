"""Compiling the native operators: one recipe for two moments.

Just in time, `cached` runs this module as a program of its own under a file lock and keeps the
result in the user's cache. Ahead of time, for images and continuous integration, somebody runs

    python -m ranksrgan.metrics.native_build [--into FOLDER] [--march NAME]

A separate process keeps the compiler's output out of ours, and leaves one way into a process for
both: loading a finished library.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ranksrgan.contracts import atomic
from ranksrgan.contracts.errors import NotSupported
from ranksrgan.metrics import native_library

SOURCES = Path(__file__).parent / "csrc"
SUFFIXES = (".cpp", ".cu", ".cuh", ".h")

# The values are defined by the order of the sums, which contraction to fused multiply-adds would
# change; the next two change no value and let the roots be vectorised. Without -fopenmp,
# at::parallel_for is a plain loop; it is not given to the linker, so that the threads are torch's.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp"]
CUDA_FLAGS = ["-O3", "--fmad=false"]

# Each runs on later minor versions too, the last as PTX on everything newer.
CUDA_ARCHITECTURES = "7.5;8.0;9.0+PTX"

# What a compiler may use unasked, by the macro that says so, and what Linux calls it. Compilers
# have a name of their own for each, so that march does not tell.
FEATURES = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__POPCNT__": "popcnt",
    "__LZCNT__": "abm",
    "__MOVBE__": "movbe",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__F16C__": "f16c",
    "__FMA__": "fma",
    "__FMA4__": "fma4",
    "__XOP__": "xop",
    "__AVX__": "avx",
    "__AVX2__": "avx2",
    "__AVXVNNI__": "avx_vnni",
    "__AVX512F__": "avx512f",
    "__AVX512CD__": "avx512cd",
    "__AVX512BW__": "avx512bw",
    "__AVX512DQ__": "avx512dq",
    "__AVX512VL__": "avx512vl",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
    "__GFNI__": "gfni",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
}

_SECONDS = 45

# Of sources that are compiled together; each more costs ten seconds of a core.
_MOST_UNITS = 4

_logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where the library for these sources, this torch, Python and processor is kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "ranksrgan" / "native" / _key()


def cached(folder: Path) -> Mapping[str, str]:
    """Load the library in ``folder``, compiling it first if there is none that can be used.

    However many processes ask at once, one compiles and the others wait for it.

    Returns:
        The facts of its build.

    Raises:
        NotSupported: it cannot be compiled; says why.
        OSError: ``folder`` cannot be written.
    """
    try:
        return native_library.load(folder)
    except native_library.UnusableLibrary:
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        try:
            return native_library.load(folder)  # somebody else compiled it while we waited
        except native_library.UnusableLibrary:
            for left_behind in folder.glob("build-*"):
                shutil.rmtree(left_behind, ignore_errors=True)
            build(folder, march="native")
    return native_library.load(folder)


def build(folder: Path, march: str | None = None) -> None:
    """Compile the operators into ``folder`` in a process of its own.

    Args:
        folder: gets the library and a record of what it was built for; each is whole or absent.
        march: the compiler's ``-march``; None is the least that every processor of this
            architecture has.

    Raises:
        NotSupported: there is no compiler or ninja, or the compiler failed.
        OSError: ``folder`` cannot be written.
    """
    environment = _environment()
    compiler = os.environ.get("CXX", "c++").split()[0]
    for program, purpose in ((compiler, "C++ compiler"), ("ninja", "build program")):
        if shutil.which(program, path=environment["PATH"]) is None:
            raise NotSupported(f"no {purpose} ({program}) was found")
    _logger.info("compiling the native operators, once, about %d s", _SECONDS)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __name__, "--into", str(folder)]
    if march is not None:
        command += ["--march", march]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        output = done.stdout + done.stderr
        _logger.debug("the compiler said:\n%s", output)
        raise NotSupported(f"compiling failed: {_first_error(output)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Compile in this process; meant for one that does nothing else."""
    parser = argparse.ArgumentParser(
        prog="python -m ranksrgan.metrics.native_build",
        description="Compile the native operators of ranksrgan.metrics ahead of time.",
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=native_library.AHEAD_OF_TIME,
        metavar="FOLDER",
        help="where the library goes (default: where the package looks for it first)",
    )
    parser.add_argument(
        "--march",
        metavar="NAME",
        help="processor to compile for, as g++ knows it: native, x86-64-v3, ... "
        "(default: the compiler's own, which runs everywhere)",
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _compile(arguments.into, arguments.march)
    _logger.info("wrote %s", arguments.into / native_library.LIBRARY)
    return 0


def needed_features(march: str | None) -> list[str]:
    """What a processor must be able to do to run what is compiled for ``march``.

    Returns:
        Of the values of `FEATURES`, in their order; for ``native`` those that the kernel tells of.

    Raises:
        subprocess.CalledProcessError: the compiler does not know ``march``.
    """
    compiler = os.environ.get("CXX", "c++").split()
    command = [*compiler, *_march(march), "-dM", "-E", "-x", "c++", os.devnull]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    defined = {line.split()[1] for line in output.splitlines() if line.startswith("#define ")}
    needed = [feature for macro, feature in FEATURES.items() if macro in defined]
    if march != "native":
        return needed
    # An older kernel has no word for what its processor can do and the compiler knows.
    told = native_library.processor_features().split()
    return [feature for feature in needed if feature in told]


def _march(march: str | None) -> list[str]:
    return [] if march is None else [f"-march={march}"]


def _compile(folder: Path, march: str | None) -> None:
    from torch.utils import cpp_extension

    folder.mkdir(parents=True, exist_ok=True)
    cuda = _with_cuda()
    flags = FLAGS + _march(march)
    if cuda:
        architectures = _cuda_architectures()
        os.environ["TORCH_CUDA_ARCH_LIST"] = architectures
        flags.append("-DRANKSRGAN_CUDA_ARCHITECTURES=" + re.sub(r"[;\s]+", ",", architectures))
    # A folder of its own: torch's lock file in it can never be a stale one.
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as private:
        cpp_extension.load(
            name=native_library.NAME,
            sources=[str(path) for path in _units(cuda, Path(private))],
            extra_cflags=flags,
            extra_cuda_cflags=CUDA_FLAGS,
            build_directory=private,
            with_cuda=cuda,
            is_python_module=False,
        )
        library = (Path(private) / native_library.LIBRARY).read_bytes()
    record = native_library.identity() | {
        "machine": platform.machine(),
        "march": march or "",
        "needs": " ".join(needed_features(march)),
        "sha256": hashlib.sha256(library).hexdigest(),
    }
    # The record goes first and comes back last: without it there is no library.
    (folder / native_library.RECORD).unlink(missing_ok=True)
    atomic.write_bytes(folder / native_library.LIBRARY, library)
    atomic.write_text(folder / native_library.RECORD, json.dumps(record, indent=2) + "\n")


def _sources(cuda: bool) -> list[Path]:
    found = [path for path in SOURCES.rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in found if cuda or path.parent.name != "cuda")


def _units(cuda: bool, folder: Path) -> list[Path]:
    """What the compiler is called for, written into ``folder`` but for the sources for a GPU.

    By itself each source would be torch's headers and little else, ten seconds of compiling: they
    are compiled several together, as many times as there are cores to do so.
    """
    sources = [path for path in _sources(cuda) if path.suffix in (".cpp", ".cu")]
    alone = [path for path in sources if path.parent.name == "cuda"]
    together = [path for path in sources if path not in alone]
    count = min(_cores(), _MOST_UNITS)
    units = [folder / f"sources{k}.cpp" for k in range(count)]
    for k, unit in enumerate(units):
        unit.write_text("".join(f'#include "{path}"\n' for path in together[k::count]))
    return [*units, *alone]


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_cuda() -> bool:
    return torch.version.cuda is not None and _nvcc() is not None


def _nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def _cuda_architectures() -> str:
    return os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES


def _key() -> str:
    cuda = _with_cuda()
    digest = hashlib.sha256()
    for path in _sources(cuda):
        digest.update(path.relative_to(SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
    facts = [
        *native_library.identity().values(),
        *FLAGS,
        *(CUDA_FLAGS if cuda else ()),
        _cuda_architectures() if cuda else "",
        os.environ.get("CXX", ""),
        platform.machine(),
        # A home folder may be shared by unlike machines, and the code is made for this one.
        native_library.processor_features() or platform.processor(),
    ]
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()[:16]


def _environment() -> dict[str, str]:
    """For the compiling process: our import path, no recursion, no warning made an error."""
    environment = dict(os.environ)
    environment.pop("PYTHONWARNINGS", None)
    environment["RANKSRGAN_NATIVE"] = "off"
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # The ninja of a virtual environment is found although nobody activated it.
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    environment["PATH"] = os.pathsep.join(places)
    return environment


def _first_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"\berror:", line)]
    return (told or lines[-1:] or ["no message"])[0]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _logger.info("waiting for another process that compiles the native operators")
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Explicitly: a process forked meanwhile holds a copy of the handle.
            fcntl.flock(handle, fcntl.LOCK_UN)


if __name__ == "__main__":
    sys.exit(main())
