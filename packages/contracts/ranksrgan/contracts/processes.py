"""A training in several processes: each computes a share of every batch.

``torchrun`` starts them and says by environment variables how many there are. Gradients are
averaged over them (DDP), and what hangs on the whole batch is computed from its joint tensors, so
that the result is that of one process with the whole batch, but for the order of summation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ranksrgan.contracts.device import choose_device
from ranksrgan.contracts.errors import RankSRGANError

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
        """The network with its gradients averaged over all processes.

        Normalisation layers are the caller's to replace first (`metrics.synced_norm`).
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(
            network,
            device_ids=None if self.device.type == "cpu" else [self.device],
            **_without_buffers(),  # all have the same ones
        )

    def joint(self, own: Tensor) -> Tensor:
        """The tensors of all processes, one after the other along the first axis.

        Args:
            own: ``(N, ...)`` on `device`; N may differ between the processes.

        Returns:
            ``(N_0 + N_1 + ..., ...)``. The own part has a gradient, scaled so that a loss of the
            joint tensor, its gradient averaged by `share`, is differentiated as in one process.
        """
        if self.count == 1:
            return own
        lengths = [torch.zeros((), dtype=torch.int64, device=self.device) for _ in self._ranks]
        distributed.all_gather(lengths, torch.tensor(len(own), device=self.device))
        padded = own.new_zeros((int(torch.stack(lengths).max()), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in self._ranks]
        distributed.all_gather(parts, padded)
        cut = [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]
        cut[self.rank] = own.view_as(own)
        if own.requires_grad:
            cut[self.rank].register_hook(lambda own: own * self.count)  # type: ignore[no-untyped-call]
        return torch.cat(cut)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of a tensor that has one shape in all of them."""
        if self.count == 1:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in one of the processes."""
        if self.count == 1:
            return flag
        raised = torch.tensor(int(flag), device=self.device)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return bool(raised.item())

    def from_first(self, compute: Callable[[], Result]) -> Result:
        """What the first process computes; the others wait for it, and fail as it does."""
        if self.count == 1:
            return compute()
        found: list[tuple[Result | None, RankSRGANError | None]] = [(None, None)]
        if self.first:
            try:
                found = [(compute(), None)]
            except RankSRGANError as error:
                found = [(None, error)]
        distributed.broadcast_object_list(found)
        result, failure = found[0]
        if failure is not None:
            raise failure
        return cast(Result, result)

    def together(self, compute: Callable[[], Result]) -> Result:
        """What this process computes; if one of them fails with an error of ours, all do."""
        if self.count == 1:
            return compute()
        result, own = None, None
        try:
            result = compute()
        except RankSRGANError as error:
            own = error
        if self.any(own is not None):
            errors: list[RankSRGANError | None] = [None] * self.count
            distributed.all_gather_object(errors, own)
            # The same one everywhere: what is done about it takes all of them together.
            rank, first = next((r, error) for r, error in enumerate(errors) if error is not None)
            raise own if own is not None and rank == self.rank else first
        return cast(Result, result)

    @property
    def _ranks(self) -> range:
        return range(self.count)


def _without_buffers() -> dict[str, Any]:
    """What tells DDP not to copy the first process's buffers to the others before each pass.

    PyTorch 2.13 has another name for it and warns of the old one.
    """
    known = signature(DistributedDataParallel).parameters
    key = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return {key: False}


def summing_only(network: nn.Module) -> AbstractContextManager[object]:
    """While gradients are summed up here, and averaged over the processes by a later backward.

    Args:
        network: of `Processes.share`; forward and backward both belong inside.
    """
    if isinstance(network, DistributedDataParallel):
        return cast(AbstractContextManager[object], network.no_sync())
    return nullcontext()


def is_first() -> bool:
    """Whether this process is the first of those that ``torchrun`` started, or alone.

    It is known outside of `processes` too, to a command that says how the training ended.
    """
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ["RANK"] == "0"


@contextmanager
def processes(device: str, *, field: str = "device") -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started; alone without it.

    Args:
        device: see `choose_device`. Of several GPUs each process takes the one of its number.
        field: the setting that it comes from, for the error.

    Raises:
        InvalidConfig: no such device.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not distributed.is_available():
        yield Processes(0, 1, choose_device(device, field=field))
        return
    here = choose_device(device, field=field)
    if here.type == "cuda":
        here = choose_device(f"cuda:{os.environ['LOCAL_RANK']}", field=field)
        torch.cuda.set_device(here)
    distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count, here)
    finally:
        distributed.destroy_process_group()
