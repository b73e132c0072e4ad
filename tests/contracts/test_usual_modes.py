"""What is loaded and computed is the same whatever modes the caller has set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts import DifferentiableScorer, open_scorer, open_upscaler
from ranksrgan.contracts.usual_modes import making_networks, usual_modes


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


Mode = Callable[[], AbstractContextManager[object]]

MODES: dict[str, Mode] = {
    "float64": lambda: default(torch.float64),
    "bfloat16": lambda: default(torch.bfloat16),
    "inference": torch.inference_mode,
    "meta": lambda: torch.device("meta"),
}


@pytest.fixture(autouse=True)
def _assets(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKSRGAN_ASSETS", str(random_weights))


@pytest.mark.parametrize("mode", MODES)
def test_within_it_torch_is_as_ever(mode: str) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with MODES[mode]():
        with making_networks():
            layer = torch.nn.Conv2d(3, 4, 3)
        assert layer.weight.dtype == torch.float32
        assert layer.weight.device.type == "cpu"
        assert not layer.weight.is_inference()
        with usual_modes():
            torch.rand(1, device="cpu")
        if mode in ("float64", "bfloat16"):
            assert torch.get_default_dtype() == getattr(torch, mode)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spec", ["ranker-niqe?device=cpu", "lpips?net=alex"])
def test_scorers_opened_in_any_mode_are_the_same(mode: str, spec: str) -> None:
    images, others = torch.rand(2, 1, 3, 112, 104)
    given = (images,) if spec.startswith("ranker") else (images, others)
    scorer = open_scorer(spec)
    assert isinstance(scorer, DifferentiableScorer)
    expected = scorer.gradient(*given)
    before = torch.get_rng_state()
    with MODES[mode]():
        opened = open_scorer(spec)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(opened, DifferentiableScorer)
    for ours, theirs in zip(opened.gradient(*given), expected, strict=True):
        assert torch.equal(ours, theirs)
    if mode in ("float64", "bfloat16"):
        with MODES[mode]():
            for ours, theirs in zip(opened.gradient(*given), expected, strict=True):
                assert torch.equal(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
def test_upscalers_too(mode: str) -> None:
    image = torch.rand(1, 3, 20, 17)
    expected = open_upscaler("srgan?device=cpu&precision=float32").upscale(image)
    with MODES[mode]():
        upscaler = open_upscaler("srgan?device=cpu&precision=float32")
        if mode != "meta":
            found = upscaler.upscale(image)
            assert found.dtype == torch.float32
            assert torch.equal(found, expected)
    assert torch.equal(upscaler.upscale(image), expected)
