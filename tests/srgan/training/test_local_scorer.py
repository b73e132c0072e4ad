from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.training import local_scorer
from ranksrgan.srgan.training.local_scorer import open_on

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ("a.safetensors", "a.safetensors?device=cpu"),
        ("a.safetensors?head=ma", "a.safetensors?head=ma&device=cpu"),
        ("a.safetensors?device=cuda", "a.safetensors?device=cuda"),
        ("unix:///run/ranker.sock/niqe", "unix:///run/ranker.sock/niqe"),
        ("niqe+0.4*rmse", "niqe+0.4*rmse"),
    ],
)
def test_what_says_nothing_else_is_opened_on_the_device(
    monkeypatch: pytest.MonkeyPatch, spec: str, asked: str
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(local_scorer, "open_scorer", lambda spec, **_: opened.append(spec))
    open_on(spec, CPU)
    open_on(spec, None)
    assert opened == [asked, spec]


def test_a_metric_has_no_device_of_its_own(tmp_path: Path) -> None:
    assert open_on("niqe?border=4", CPU).info.name == "niqe?border=4"
    with pytest.raises(InvalidInput, match="niqe has no option statistics"):
        open_on("niqe?statistics=batch", CPU)
