from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.shipped import ShippedWeights
from ranksrgan.pipeline import doctor
from ranksrgan.pipeline.cli import main


def test_it_names_versions_operators_devices_and_offers() -> None:
    found = {finding.subject: finding.state for finding in doctor.examine()}
    assert found["torch"] == torch.__version__
    assert found["ranksrgan-metrics"] == "0.1.0"
    assert "niqe" in found["scorers"]
    assert "bicubic" in found["upscalers"]
    (operators,) = [state for subject, state in found.items() if subject.startswith("operators")]
    assert operators.startswith(("compiled", "PyTorch twins"))
    assert found["networks shipped"] == "ranksrgan, srgan, srresnet, ranker-niqe"
    assert found["  ranksrgan"].endswith("ranksrgan_niqe_x4.safetensors")
    assert ("GPU" in found) or ("GPU 0" in found)


def test_a_network_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShippedWeights, "folder", Path("nowhere"))
    faults = [finding for finding in doctor.examine() if not finding.good]
    assert [fault.subject for fault in faults if "is missing" in fault.state] == [
        "  ranksrgan",
        "  srgan",
        "  srresnet",
        "  ranker-niqe",
    ]


def test_the_command_prints_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.examine())
    assert any("torch" in line and torch.__version__ in line for line in lines)
