"""What is a process of its own and computes nothing does not import torch, which takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "console",
        "healthcheck",
        "operations.job_process",
        "operations.supervisor",
        "serving.settings",
    ],
)
def test_no_torch(module: str) -> None:
    code = f"import sys, ranksrgan.contracts.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_the_package_offers_is_there() -> None:
    import ranksrgan.contracts as contracts

    for name in contracts.__all__:
        assert getattr(contracts, name).__name__ == name
    assert set(contracts.__all__) <= set(dir(contracts))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        contracts.nothing  # noqa: B018
