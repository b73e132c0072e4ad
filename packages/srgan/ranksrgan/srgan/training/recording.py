"""A step recorded once as a CUDA graph, and repeated by one launch.

The networks of this field are small for a GPU: it has done a kernel before Python has launched the
next, thousands of them a step. A graph holds all of them, with the addresses of what they read and
write; repeated, they do the same arithmetic in the same order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from ranksrgan.contracts import cancellation
from ranksrgan.srgan.data.crops import Batch

log = logging.getLogger(__name__)

#: Steps before the recording, in which cuDNN chooses its kernels and optimisers make their states.
WARM_UP = 2

# A process can record one graph at a time; a server may run several trainings.
_one_at_a_time = threading.Lock()

Result = TypeVar("Result")


class Recording(Generic[Result]):
    """Work on batches of one shape, done by Python at first and by the GPU alone afterwards.

    The first `WARM_UP` calls do the work, the next one records it and lets the GPU do it. A graph
    keeps the memory that the work needs for itself alone, as long as it lives. Work that cannot be
    recorded, or for which the memory is not there, is done by Python on; the log says so.

    Args:
        work: what is done with a batch on the device, and what it results in. It reads nothing from
            the GPU while `device.recording`; what changes from call to call besides the batch is in
            tensors that stay where they are.
        device: a GPU.
    """

    def __init__(self, work: Callable[[Batch], Result], device: torch.device) -> None:
        self._work = work
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._calls = 0
        self._recorded: tuple[torch.cuda.CUDAGraph, Batch, Result] | None = None

    def __call__(self, batch: Batch) -> Result:
        """The result of the work; the next call overwrites its tensors."""
        self._calls += 1
        if self._calls <= WARM_UP:
            return self._work_aside(batch)
        if self._calls == WARM_UP + 1:
            self._recorded = self._record(batch)
        if self._recorded is None:
            return self._work(batch)
        cancellation.check()  # as the work itself would
        graph, images, result = self._recorded
        for ours, theirs in zip(images, batch, strict=True):
            ours.copy_(theirs, non_blocking=True)
        graph.replay()
        return result

    def _work_aside(self, batch: Batch) -> Result:
        """On a stream of its own: what is recorded must not meet what ran on the usual one."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            result = self._work(batch)
        usual.wait_stream(self._stream)
        return result

    def _record(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, Result] | None:
        usual = torch.cuda.current_stream(self._device)
        images = Batch(*(torch.empty_like(image, device=self._device) for image in batch))
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, which prepare batches, may go on using the GPU meanwhile.
            with (
                _one_at_a_time,
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                result = self._work(images)
        except RuntimeError as error:
            torch.cuda.set_stream(usual)  # torch leaves that out
            log.warning("steps are launched kernel by kernel: no CUDA graph of one (%s)", error)
            return None
        log.info("a step is recorded as a CUDA graph")
        return graph, images, result
