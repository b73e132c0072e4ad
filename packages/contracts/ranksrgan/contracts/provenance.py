"""What made a result: written beside every run's outputs."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ranksrgan.contracts import atomic
from ranksrgan.contracts.config import Config, dump_yaml

PACKAGES = (
    "ranksrgan-contracts",
    "ranksrgan-metrics",
    "ranksrgan-rankdata",
    "ranksrgan-ranker",
    "ranksrgan-srgan",
    "torch",
    "numpy",
)


def versions() -> dict[str, str]:
    """Installed versions of our packages and of what decides numbers; absent ones left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_revision() -> str | None:
    """The commit of the checkout this code runs from (``+`` if changed), None outside of one."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside somebody else's repository.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    revision = git("rev-parse", "HEAD")
    return f"{revision}+" if revision and git("status", "--porcelain") else revision


def run_record(seed: int | None = None) -> dict[str, Any]:
    """Versions, revision, command, seed and time, as JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "versions": versions(),
        "git_revision": git_revision(),
    }


def write_run_record(folder: Path, config: Config, seed: int | None = None) -> None:
    """Write ``config.yaml`` (resolved) and ``run.json`` into ``folder``."""
    atomic.write_text(folder / "config.yaml", dump_yaml(config))
    atomic.write_text(folder / "run.json", json.dumps(run_record(seed), indent=2) + "\n")
