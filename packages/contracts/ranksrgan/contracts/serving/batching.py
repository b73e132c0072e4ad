"""What calls bring to a device, and how those that are alike become one batch and part again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ranksrgan.contracts.joining import Joining

# A joined batch holds no more: larger ones gain nothing, and take the memory of all calls at once.
_JOINED_PIXELS = 2**22


@dataclass(frozen=True)
class Batch:
    """A batch for a model, which others may be joined to.

    Attributes:
        service: full name of the service that was called.
        model: as the client names it.
        operation: what is to be done with it: ``score``, ``gradient``, ``upscale``.
        joining: of the model.
        compute: the work: from ``inputs`` to tensors ``(N, ...)`` of as many images.
        inputs: tensors ``(N, ...)``: images and, for some, references.
        owner: the model itself; a reloaded one of the same name is another.
        device: where the inputs are to lie; None: where they are.
    """

    service: str
    model: str
    operation: str
    joining: Joining
    compute: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[Tensor, ...]
    owner: object
    device: torch.device | None = None

    @property
    def images(self) -> int:
        return self.inputs[0].shape[0]

    @property
    def pixels(self) -> int:
        return self.images * self.inputs[0].shape[-2:].numel()

    @property
    def key(self) -> Hashable:
        """Equal for batches that can be one; None if that is none."""
        if self.joining.joins == "never":
            return None
        kinds = tuple((tensor.shape[1:], tensor.dtype) for tensor in self.inputs)
        return (id(self.owner), self.operation, kinds)

    def run(self) -> tuple[Tensor, ...]:
        return self.compute(*self.placed())

    def placed(self) -> tuple[Tensor, ...]:
        """The inputs, where they are to lie."""
        if self.device is None:
            return self.inputs
        return tuple(tensor.to(self.device) for tensor in self.inputs)


@dataclass(frozen=True)
class Alone:
    """Work that cannot be joined: the next strip of an image, features.

    Attributes:
        service, model, operation, joining: as in `Batch`; of ``joining`` only the device counts.
        compute: the work.
        images: how many it concerns.
        pixels: how many, of all those images.
    """

    service: str
    model: str
    operation: str
    joining: Joining
    compute: Callable[[], Any]
    images: int
    pixels: int

    @property
    def key(self) -> None:
        return None

    def run(self) -> Any:
        return self.compute()


Work = Batch | Alone


@dataclass(eq=False)
class Job:
    """Work, and the call that waits for it.

    Attributes:
        work: to do.
        deadline: of the call, on the monotonic clock; None: there is none.
        wanted: whether the call still waits.
        since: when it came.
        result: of the work.
    """

    work: Work
    deadline: float | None
    wanted: Callable[[], bool]
    since: float
    result: Future[Any] = field(default_factory=Future)


def partners(first: Job, waiting: Sequence[Job], size: int) -> list[Job]:
    """The jobs that are worked on together with ``first``, it included, in their order.

    Args:
        first: what is worked on in any case, whatever its size.
        waiting: those that could be joined to it; ``first`` may be among them.
        size: images that a joined batch has at most.
    """
    chosen, images, pixels = [first], first.work.images, first.work.pixels
    key = first.work.key
    for job in waiting:
        if key is None or job is first or job.work.key != key:
            continue
        if images + job.work.images > size or pixels + job.work.pixels > _JOINED_PIXELS:
            break  # whoever came earlier is not overtaken by a smaller one
        chosen.append(job)
        images, pixels = images + job.work.images, pixels + job.work.pixels
    return chosen


def is_full(chosen: Sequence[Job], size: int) -> bool:
    """Whether not even one more image could be joined."""
    images = sum(job.work.images for job in chosen)
    pixels = sum(job.work.pixels for job in chosen)
    return images >= size or pixels + pixels // images > _JOINED_PIXELS


def run_joined(jobs: Sequence[Job]) -> list[Any]:
    """The results of jobs with equal keys, one by one in their order, from one computation."""
    batches = [job.work for job in jobs if isinstance(job.work, Batch)]
    inputs = [torch.cat(tensors) for tensors in zip(*(b.placed() for b in batches), strict=True)]
    found = batches[0].compute(*inputs)
    sizes = [batch.images for batch in batches]
    return list(zip(*(torch.split(tensor, sizes) for tensor in found), strict=True))
