"""What is asked of DDP; how processes train together is tested with the trainings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from ranksrgan.contracts import processes
from ranksrgan.contracts.processes import Processes


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_ddp_is_made_without_a_warning_and_leaves_buffers_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shared = Processes(0, 2, torch.device("cpu")).share(nn.BatchNorm1d(3))
    assert not shared.broadcast_buffers  # PyTorch 2.13 has it as another name of the new one


class Older:
    def __init__(self, module: nn.Module, device_ids: Any = None, broadcast_buffers: bool = True):
        self.kept = broadcast_buffers


class Newer:
    def __init__(
        self,
        module: nn.Module,
        device_ids: Any = None,
        broadcast_buffers: bool | None = None,
        forward_sync_buffers: bool | None = None,
    ):
        assert broadcast_buffers is None
        self.kept = forward_sync_buffers


@pytest.mark.parametrize("ddp", [Older, Newer])
def test_it_is_asked_by_the_name_that_pytorch_has(
    ddp: type[Older | Newer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "DistributedDataParallel", ddp)
    shared: Any = Processes(0, 2, torch.device("cpu")).share(nn.Linear(1, 1))
    assert shared.kept is False
