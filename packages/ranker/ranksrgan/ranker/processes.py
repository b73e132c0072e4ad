"""A training in several processes: each computes a share of every batch.

``torchrun`` starts them and says by environment variables how many there are. The loss is that of
the joint batch, and BatchNorm normalises over it (`ranksrgan.ranker.synced_norm`), so that the
result is that of one process with the whole batch, but for the order of summation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from ranksrgan.contracts.device import choose_device
from ranksrgan.ranker.synced_norm import sync_norms

#: The others wait as long while the first one validates.
_PATIENCE = timedelta(hours=3)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: 0 is the one that writes files and validates.
        count: how many there are.
        device: where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, network: nn.Module) -> nn.Module:
        """The network with gradients, and statistics of BatchNorm, over all processes."""
        if self.count == 1:
            return network
        return nn.parallel.DistributedDataParallel(
            sync_norms(network),
            device_ids=None if self.device.type == "cpu" else [self.device],
            broadcast_buffers=False,
        )

    def gather(self, scores: Tensor, values: Tensor, group: Tensor) -> tuple[Tensor, ...]:
        """The scores, values and groups of the joint batch; of the scores the own have a gradient.

        Backward from a loss of them times `count` gives, averaged over the processes, the gradient
        of the joint batch.
        """
        if self.count == 1:
            return scores, values, group
        parts: list[Any] = [None] * self.count
        distributed.all_gather_object(parts, (scores.detach().cpu(), values.cpu(), group.cpu()))
        joint = [part[0].to(scores.device) for part in parts]
        joint[self.rank] = scores
        groups = [part[2] * self.count + rank for rank, part in enumerate(parts)]
        everywhere = [torch.cat(joint), torch.cat([part[1] for part in parts]), torch.cat(groups)]
        return tuple(tensor.to(scores.device) for tensor in everywhere)

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """What the first process computes; the others wait for it."""
        if self.count == 1:
            return compute()
        found = [compute() if self.first else None]
        distributed.broadcast_object_list(found)
        return cast(Result, found[0])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        if self.count == 1:
            return flag
        raised = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return bool(raised.item())


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; alone without it.

    Args:
        device: see `choose_device`. Of several GPUs each process takes the one of its number.

    Raises:
        InvalidConfig: no such device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not distributed.is_available():
        yield Processes(0, 1, choose_device(device))
        return
    here = choose_device(device)
    if here.type == "cuda":
        here = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count, here)
    finally:
        distributed.destroy_process_group()
