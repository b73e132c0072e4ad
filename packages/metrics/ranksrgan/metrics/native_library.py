"""A compiled library of operators: its files, what it was built for, and loading it."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import torch

#: Of the environment: whether compiled operators are used, see `ranksrgan.metrics.native`.
VARIABLE = "RANKSRGAN_NATIVE"

NAME = "ranksrgan_native"
LIBRARY = f"{NAME}.so"
RECORD = "built.json"
AHEAD_OF_TIME = Path(__file__).parent / "_native"


class UnusableLibrary(Exception):
    """There is no library in a folder, or one that this process must not load."""


def load(folder: Path) -> Mapping[str, str]:
    """Load the library in ``folder`` into this process and return the facts of its build.

    Raises:
        UnusableLibrary: there is none, or it is damaged or made for another torch or Python, or
            for a processor that can do more than this one.
    """
    path, record = folder / LIBRARY, folder / RECORD
    try:
        built = dict(json.loads(record.read_text()))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, TypeError) as error:
        raise UnusableLibrary(f"{folder} holds no complete library: {error}") from error
    for what, wanted in identity().items():
        if built.get(what) != wanted:
            raise UnusableLibrary(
                f"{path} was built for {what} {built.get(what)}, and this is {what} {wanted}: "
                "build it again with `python -m ranksrgan.metrics.native_build`"
            )
    has = processor_features().split()
    if has and (lacking := [one for one in str(built.get("needs", "")).split() if one not in has]):
        raise UnusableLibrary(
            f"{path} was built for a processor with {', '.join(lacking)}, which this one has not: "
            "build it again with another --march, or with none for every processor"
        )
    if built.get("sha256") != digest:
        raise UnusableLibrary(f"{path} is not the file that {record} describes")
    loader = importlib.machinery.ExtensionFileLoader(NAME, str(path))
    spec = importlib.util.spec_from_file_location(NAME, path, loader=loader)
    if spec is None:
        raise UnusableLibrary(f"{path} is no extension module")
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise UnusableLibrary(f"{path} does not load: {error}") from error
    return dict(module.facts)


def identity() -> dict[str, str]:
    """What a library must have been built for to be loaded here."""
    return {
        "torch": str(torch.__version__),
        "python": str(sysconfig.get_config_var("SOABI")),
    }


def processor_features() -> str:
    """What this processor can do, as Linux calls it: ``fma avx2 ...``; empty if it is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return found.partition(":")[2].strip()
