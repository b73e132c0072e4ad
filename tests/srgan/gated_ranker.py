"""A Ranker that lets a training take so many steps and no more, as long as a file says so.

Offered as the entry point ``gated`` to the processes of a test: ``gated?gate=FILE``, where FILE
says how many gradients a process gets as long as it is there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts.scorer import ScorerInfo


class GatedRanker:
    """A `DifferentiableScorer`: the mean of the squared pixels."""

    info = ScorerInfo("gated", "1", False, False, True, 1)

    def __init__(self, gate: Path) -> None:
        self._gate = gate
        self._given = 0

    def score(self, images: Tensor, references: Tensor | None = None) -> Tensor:
        if images.requires_grad:
            while self._is_shut():
                time.sleep(0.01)
            self._given += 1
        pixels = images.double() / 255 if images.dtype == torch.uint8 else images.double()
        return pixels.square().mean((1, 2, 3))

    def gradient(self, images: Tensor, references: Tensor | None = None) -> tuple[Tensor, Tensor]:
        leaf = images.detach().requires_grad_()
        scores = self.score(leaf)
        return scores.detach(), torch.autograd.grad(scores.sum(), leaf)[0]

    def _is_shut(self) -> bool:
        try:
            return self._given >= int(self._gate.read_text())
        except FileNotFoundError:
            return False


def open_gated(name: str, options: Mapping[str, str]) -> GatedRanker:
    return GatedRanker(Path(options["gate"]))
