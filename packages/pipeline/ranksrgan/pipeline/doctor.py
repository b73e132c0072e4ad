"""``ranksrgan doctor``: what is installed here, what is in use, and what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch

from ranksrgan.contracts.assets import ASSETS, VARIABLE, present
from ranksrgan.contracts.discovery import SCORERS, UPSCALERS, offered
from ranksrgan.contracts.errors import MissingAsset
from ranksrgan.contracts.provenance import git_revision, versions
from ranksrgan.metrics import mscn, native, native_library
from ranksrgan.ranker.shipped import SHIPPED as RANKERS
from ranksrgan.srgan.shipped import SHIPPED as GENERATORS


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``good`` is False where something that should work does not."""

    subject: str
    state: str
    good: bool = True


def examine() -> list[Finding]:
    """Look at everything; nothing is changed but the cache of compiled operators."""
    return [*_versions(), *_operators(), *_devices(), *_offers(), *_shipped(), *_assets()]


def _versions() -> list[Finding]:
    found = [Finding(name, version) for name, version in versions().items()]
    found.append(Finding("opencv", cv2.__version__))
    found.append(Finding("git revision", git_revision() or "not a checkout"))
    return found


def _operators() -> list[Finding]:
    mscn(torch.zeros(1, 8, 8, dtype=torch.float64))  # operators are looked for at the first call
    status = native.status()
    serving = "compiled" if status.in_use else "PyTorch twins"
    wanted = status.in_use or status.mode == "off"
    findings = [
        Finding(
            f"operators ({native_library.VARIABLE}={status.mode})",
            f"{serving}: {status.reason}",
            wanted,
        )
    ]
    if status.path:
        findings.append(Finding("operator library", str(status.path)))
    findings += [Finding(f"  {fact}", value) for fact, value in status.facts.items()]
    for tool in ("g++", "ninja", "nvcc"):
        beside = Path(sys.executable).with_name(tool)
        place = shutil.which(tool) or (str(beside) if beside.is_file() else None)
        findings.append(Finding(tool, place or "not found"))
    return findings


def _devices() -> list[Finding]:
    cores = len(os.sched_getaffinity(0))
    simd = torch.backends.cpu.get_cpu_capability()
    findings = [Finding("CPU", f"{cores} cores, {simd}, {torch.get_num_threads()} torch threads")]
    if not torch.cuda.is_available():
        return [*findings, Finding("GPU", "none that this build of torch can use")]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        findings.append(
            Finding(f"GPU {index}", f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
        )
    return findings


def _offers() -> list[Finding]:
    return [
        Finding("scorers", ", ".join(offered(SCORERS)) or "none", bool(offered(SCORERS))),
        Finding("upscalers", ", ".join(offered(UPSCALERS)) or "none", bool(offered(UPSCALERS))),
    ]


def _shipped() -> list[Finding]:
    """The networks that the packages bring; each that is missing is a fault."""
    findings = []
    for shipped in (GENERATORS, RANKERS):
        for name in shipped.names:
            try:
                findings.append(Finding(f"  {name}", str(shipped.path(name))))
            except MissingAsset as error:
                findings.append(Finding(f"  {name}", str(error), good=False))
    return [Finding("networks shipped", ", ".join([*GENERATORS.names, *RANKERS.names])), *findings]


def _assets() -> list[Finding]:
    findings = [Finding(VARIABLE, os.environ.get(VARIABLE) or "not set")]
    for asset in ASSETS.values():
        place = present(asset)
        findings.append(Finding(f"  {asset.name}", str(place) if place else "not here"))
    return findings
