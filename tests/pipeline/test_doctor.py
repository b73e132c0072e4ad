from __future__ import annotations

import pytest
import torch

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
    assert ("GPU" in found) or ("GPU 0" in found)


def test_the_command_prints_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(doctor.examine())
    assert any("torch" in line and torch.__version__ in line for line in lines)
