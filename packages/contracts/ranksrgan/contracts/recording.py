"""Work of a GPU recorded once as CUDA graphs, and repeated by launching those.

The networks of this field are small for a GPU: it has done a kernel before Python has launched the
next, hundreds of them a call. A graph holds all of them, with the addresses of what they read and
write; repeated, they do the same arithmetic in the same order.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.errors import NotSupported

log = logging.getLogger(__name__)

#: Calls before the recording, in which cuDNN chooses its kernels and optimisers make their states.
WARM_UP = 2

# A process can record one graph at a time, and nobody may wait for the whole GPU meanwhile.
_one_at_a_time = threading.Lock()

# Torch has 32 streams a device, and gives them out again and again: so many are ours, one for each
# recording. Of two on one stream, the end of the first would take the second's workspace along.
_MOST_STREAMS = 28

_of_this_thread = threading.local()

Result = TypeVar("Result")

_Part: TypeAlias = Callable[[], object]


def recording() -> bool:
    """Whether the work of this thread is being recorded in a CUDA graph: nothing is computed yet.

    What would read a value from the GPU has to do without it then, or to use `in_between`.
    """
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return bool(in_use) and torch.cuda.is_current_stream_capturing()


def in_between(work: Callable[[], None]) -> None:
    """Do what a GPU cannot do alone, as to ask a service, in the midst of what may be recorded.

    It is done now. While the work of this thread is being recorded it is not, but whenever that is
    repeated: after all that has been recorded before, and before all that will be afterwards. What
    it reads and writes then lies where it lay in the recording.

    Raises:
        NotSupported: what is recorded is no `Recording`.
    """
    if not recording():
        work()
        return
    recorder: _Recorder | None = getattr(_of_this_thread, "recorder", None)
    if recorder is None:
        raise NotSupported("a CUDA graph of somebody else's cannot wait for other work")
    recorder.leave(work)


class _Streams:
    """The streams of a device that are ours."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._made = 0
        self._free: list[torch.cuda.Stream] = []

    def take(self) -> torch.cuda.Stream | None:
        """One that nobody else has; None if there is none left."""
        with self._lock:
            if not self._free and self._made < _MOST_STREAMS:
                self._made += 1
                self._free.append(torch.cuda.Stream(self._device))  # type: ignore[no-untyped-call]
            return self._free.pop() if self._free else None

    def give(self, stream: torch.cuda.Stream) -> None:
        with self._lock:
            self._free.append(stream)


_streams: dict[int, _Streams] = {}


def take_stream(owner: object, device: torch.device) -> torch.cuda.Stream | None:
    """A stream of that GPU for the owner alone, as long as it lives; None if there is none left."""
    index = torch.cuda.current_device() if device.index is None else device.index
    streams = _streams.setdefault(index, _Streams(torch.device("cuda", index)))
    stream = streams.take()
    if stream is not None:
        weakref.finalize(owner, streams.give, stream).atexit = False
    return stream


class Recording(Generic[Result]):
    """Work on tensors of one shape, done by Python at first and by the GPU alone afterwards.

    The first `WARM_UP` calls of a thread do the work, its next one records it and lets the GPU do
    it. A recording keeps the memory that the work needs for itself alone, as long as it lives. Work
    that cannot be recorded, or for which the memory is not there, is done by Python on; the log
    says so.

    Args:
        work: what is done with some tensors on the device, and what it results in. It reads nothing
            from the GPU while `recording`, but for what it leaves to `in_between`; what changes
            from call to call besides the tensors it is given lies in others that stay where they
            are.
        device: a GPU.
        what: of which the log speaks.
    """

    def __init__(
        self, work: Callable[..., Result], device: torch.device, what: str = "a step"
    ) -> None:
        self._work = work
        self._device = device
        self._what = what
        self._stream = take_stream(self, device)
        self._possible = self._stream is not None
        self._warm = threading.local()  # cuDNN and cuBLAS have what they need by thread
        self._recorded: tuple[list[_Part], tuple[Tensor, ...], Result] | None = None

    @property
    def is_recorded(self) -> bool:
        return self._recorded is not None

    def __call__(self, *given: Tensor) -> Result:
        """The result of the work; the next call overwrites its tensors.

        Args:
            given: tensors wherever they lie, of the same shapes and types in each call.

        Raises:
            RankSRGANError: as the work, and of what it leaves to `in_between`. After that nothing
                of the work is done that follows.
        """
        if self._recorded is None and self._possible and self._stream is not None:
            calls: int = getattr(self._warm, "calls", 0)
            if calls < WARM_UP:
                result = self._work_aside(given, self._stream)
                self._warm.calls = calls + 1
                return result
            self._recorded = self._record(given, self._stream)
            self._possible = self._recorded is not None
        if self._recorded is None:
            return self._work(*given)
        cancellation.check()  # as the work itself would
        parts, inputs, result = self._recorded
        for ours, theirs in zip(inputs, given, strict=True):
            ours.copy_(theirs, non_blocking=True)
        for part in parts:
            part()
        return result

    def close(self) -> None:
        """Give the memory back when the GPU is no longer at it; the work is done by Python on."""
        self._possible = False
        if self._recorded is not None:
            with _one_at_a_time:
                torch.cuda.synchronize(self._device)
            self._recorded = None

    def _work_aside(self, given: tuple[Tensor, ...], stream: torch.cuda.Stream) -> Result:
        """On a stream of its own: what is recorded must not meet what ran on the usual one."""
        usual = torch.cuda.current_stream(self._device)
        stream.wait_stream(usual)
        with torch.cuda.stream(stream):
            result = self._work(*given)
        usual.wait_stream(stream)
        return result

    def _record(
        self, given: tuple[Tensor, ...], stream: torch.cuda.Stream
    ) -> tuple[list[_Part], tuple[Tensor, ...], Result] | None:
        with torch.cuda.device(self._device):
            usual = torch.cuda.current_stream()
            chance = torch.cuda.default_generators[usual.device.index]
            before = chance.clone_state()
            inputs = tuple(torch.empty_like(tensor, device=self._device) for tensor in given)
            recorder = _Recorder(stream)
            try:
                with _one_at_a_time, recorder:
                    result = self._work(*inputs)
            except RuntimeError as error:
                # Torch leaves out both: it would be on that stream, and draw for a recording.
                torch.cuda.set_stream(usual)
                chance.graphsafe_set_state(before)
                log.warning(
                    "%s is launched kernel by kernel: no CUDA graph of it (%s)", self._what, error
                )
                return None
        log.info("%s is recorded as a CUDA graph", self._what)
        return recorder.parts, inputs, result


class _Recorder:
    """Records on a stream what its thread does, in as many graphs as other work divides it into."""

    def __init__(self, stream: torch.cuda.Stream) -> None:
        self.parts: list[_Part] = []
        self._stream = stream
        self._pool = torch.cuda.graph_pool_handle()
        self._open: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        _of_this_thread.recorder = self
        try:
            self._begin()
        except BaseException:
            _of_this_thread.recorder = None
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _of_this_thread.recorder = None
        self._end(kind, error, traceback)

    def leave(self, work: Callable[[], None]) -> None:
        """Record no such work, but do it there each time."""
        self._end()
        self.parts.append(torch.no_grad()(work))
        self._begin()

    def _begin(self) -> None:
        graph = torch.cuda.CUDAGraph()
        # Other threads, which prepare batches, may go on using the GPU meanwhile.
        opened = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        opened.__enter__()
        self._open = opened
        self.parts.append(graph.replay)

    def _end(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            opened.__exit__(kind, error, traceback)


class Repeats:
    """Work on tensors of any shapes, recorded for those that come again and again.

    It is simply done where it would be a part of something else that is recorded, under autocast,
    whose choice may be another next time, and on many values, which keep a GPU busy anyway. A copy,
    and what comes out of a pickle, has recorded nothing.

    Args:
        work: see `Recording`; it results in tensors, which carry no gradient.
        device: a GPU.
        what: of which the log speaks.
        largest: values of all tensors of a call that is recorded.
        kept: recordings, each with the memory that it needs. One for other tensors takes the place
            of that which has not been used for the longest time.
    """

    def __init__(
        self,
        work: Callable[..., tuple[Tensor, ...]],
        device: torch.device,
        what: str,
        largest: int,
        kept: int = 4,
    ) -> None:
        self._work = work
        self._device = device
        self._what = what
        self._largest = largest
        self._kept = kept
        # None for what has come once.
        self._recordings: OrderedDict[object, Recording[tuple[Tensor, ...]] | None] = OrderedDict()
        self._done: torch.cuda.Event | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Repeats, (self._work, self._device, self._what, self._largest, self._kept)

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The results, which are the caller's, there or where the tensors lie; several threads may
        ask at a time."""
        size = sum(tensor.numel() for tensor in given)
        if recording() or torch.is_autocast_enabled(self._device.type) or size > self._largest:
            return self._work(*given)
        cudnn: Any = torch.backends.cudnn
        chosen = (cudnn.deterministic, cudnn.conv.fp32_precision)
        kind = (chosen, *((tensor.shape, tensor.stride(), tensor.dtype) for tensor in given))
        # What a recording keeps is to be written to in other calls, which may be in another mode.
        with self._lock, torch.inference_mode(False), torch.no_grad():
            recorded = self._recordings.get(kind)
            if recorded is None and kind in self._recordings:
                recorded = Recording(self._work, self._device, self._what)
            self._recordings[kind] = recorded
            self._recordings.move_to_end(kind)
            try:
                with self._in_turn():
                    found = (self._work if recorded is None else recorded)(*given)
                    results = tuple(result.clone() for result in found)
            except BaseException:
                if recorded is None or not recorded.is_recorded:
                    del self._recordings[kind]  # what fails costs no other its place
                raise
            if len(self._recordings) > self._kept:
                _, dropped = self._recordings.popitem(last=False)
                if dropped is not None:
                    dropped.close()
        return results

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """After what other threads have asked for on streams of their own."""
        stream = torch.cuda.current_stream(self._device)
        if self._done is None:
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        else:
            stream.wait_event(self._done)
        try:
            yield
        finally:
            self._done.record(stream)
