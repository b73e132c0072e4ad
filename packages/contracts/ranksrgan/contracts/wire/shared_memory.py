"""Memory that two processes of one user share: Linux memfds whose size is sealed.

*Nothing to remove.* A memfd has no file. The kernel frees it when the last process that has it
open or mapped ends, by kill -9 too, or lets go of it; a server lets go within seconds of its
client's end (see `ranksrgan.contracts.serving.shared_tensors`).

*No trap.* A file in /dev/shm could be truncated under a server that reads its mapping, which ends
the server by SIGBUS. A memfd whose size is sealed cannot.

*Who may.* A segment is opened through /proc/PID/fd/FD, which the kernel allows between processes of
one user. Its name holds a random key that the memfd's own name repeats, so that neither another
file nor, after a pid has gone round or in another pid namespace, another process is taken for it;
and what was opened is asked for its owner, mode and seals.
"""

from __future__ import annotations

import fcntl
import logging
import math
import mmap
import os
import re
import secrets
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ranksrgan.contracts.errors import InvalidInput, SharedMemoryUnavailable

log = logging.getLogger(__name__)

#: Bytes; where tensors that do not follow each other begin. What torch aligns its own to.
ALIGNMENT = 64

_PREFIX = "ranksrgan"
_NAME = re.compile(_PREFIX + r"-([1-9][0-9]{0,9})-([0-9]{1,9})-([0-9a-f]{32})", re.ASCII)
_MODE = 0o600

# Segments are made a little larger, so that a slightly larger batch needs no other one.
_GRAIN = 2**20
# Segments that a pool keeps for the next calls.
_KEPT = 8

# Segments that a tensor lies in which is in use, by the address of that tensor's memory.
_lent: dict[int, Segment] = {}

# cudaHostRegisterPortable: for all devices, not for the one at hand alone.
_PORTABLE = 1


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: row-major, without gaps.

    Attributes:
        segment: its name.
        dtype: uint8 or floating point.
        shape: of the tensor.
        offset: of its first byte in the segment.
    """

    segment: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Of the byte after its last."""
        return self.offset + self.size

    def apart(self) -> list[Place]:
        """Of each of the tensors that this one holds, the first side counting them."""
        count, *shape = self.shape
        size = self.size // max(count, 1)
        return [
            replace(self, shape=tuple(shape), offset=self.offset + i * size) for i in range(count)
        ]


class Segment:
    """Shared memory as this process has it mapped; unmapped when nothing refers to it any more.

    Args:
        name: by which the other side opens it.
        size: in bytes.
        descriptor: of the memfd; the mapping does not need it open.
    """

    def __init__(self, name: str, size: int, descriptor: int) -> None:
        self.name = name
        self.size = size
        self._bytes = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
        self._memory = torch.from_numpy(self._bytes)
        self._lock = threading.Lock()
        self._pin_tried = False

    @property
    def address(self) -> int:
        """Of its first byte, in this process."""
        return self._memory.data_ptr()

    def tensor(
        self, place: Place, field: str = "segment", *, last: Callable[[], object] | None = None
    ) -> Tensor:
        """The memory of a place, without a copy.

        Args:
            place: in this segment.
            field: what messages call it.
            last: is called when nothing refers to this tensor's memory any more.

        Raises:
            InvalidInput: it is not wholly in the segment, or not where its type may begin.
        """
        if min(place.shape, default=0) < 0 or place.offset < 0 or place.end > self.size:
            raise InvalidInput(
                f"{field}: {place.shape} of {place.dtype} at byte {place.offset} is not within the "
                f"{self.size} bytes of the segment",
                field=field,
            )
        if place.offset % place.dtype.itemsize:
            raise InvalidInput(
                f"{field}: byte {place.offset} is not a multiple of the {place.dtype.itemsize} "
                f"bytes of {place.dtype}",
                field=field,
            )
        if last is None:
            memory = self._memory[place.offset : place.end]
        else:  # all tensors of one array have one storage, so this one has an array of its own
            array = self._bytes[place.offset : place.end]
            weakref.finalize(array, last).atexit = False
            memory = torch.from_numpy(array)
        return memory.view(place.dtype).reshape(place.shape)

    def pin(self, device: torch.device) -> None:
        """Let a GPU read and write it by itself, as long as this process has it mapped.

        Else the driver copies everything once more through a buffer of its own, piece by piece.
        That is what happens where the memory cannot be pinned, as beyond the limit of locked
        memory; the log says so.

        Args:
            device: one that this process uses; all others that it uses then reach it too.
        """
        with self._lock:
            if self._pin_tried:
                return
            self._pin_tried = True
            cuda = torch.cuda.cudart()  # type: ignore[no-untyped-call]
            try:
                with torch.cuda.device(device):
                    code = cuda.cudaHostRegister(self.address, self.size, _PORTABLE)
                torch.cuda.check_error(code)
            except RuntimeError as error:
                log.info("a GPU reaches %s through a buffer only: %s", self.name, error)
                return
            # Before the memory is unmapped. A process that ends needs none of it.
            weakref.finalize(self, _unpin, cuda, device, self.address, os.getpid()).atexit = False


def create_segment(size: int) -> Segment:
    """A new segment of this process, with memory behind every byte of it.

    Raises:
        OSError: there is not enough memory, or no such thing on this system.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no memfd")
    pid, key = os.getpid(), secrets.token_hex(16)
    descriptor = os.memfd_create(f"{_PREFIX}-{pid}-{key}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(descriptor, _MODE)
        os.posix_fallocate(descriptor, 0, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _seals())
        segment = Segment(f"{_beginning()}{descriptor}-{key}", size, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    weakref.finalize(segment, os.close, descriptor)
    return segment


def open_segment(name: str, field: str = "segment") -> Segment:
    """The segment that another process of this user has made.

    Raises:
        InvalidInput: no name of a segment.
        SharedMemoryUnavailable: it cannot be reached from here, or is not what `create_segment`
            makes: another user's, open to others, or of a size that may change.
    """
    path, memfd = _whereabouts(name, field)
    try:
        # Opening a pipe or a device could have effects; so the link is read before.
        if _target(path) != memfd:
            raise _unavailable(name, "the process that it names has no such segment", field)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise _unavailable(name, error.strerror or "cannot be opened", field) from error
    try:
        found = os.fstat(descriptor)
        opened = _target(f"/proc/self/fd/{descriptor}")
        if opened != memfd or not stat.S_ISREG(found.st_mode):
            raise _unavailable(name, "the process that it names has no such segment", field)
        if found.st_uid != os.geteuid():
            raise _unavailable(name, "it belongs to another user", field)
        if stat.S_IMODE(found.st_mode) != _MODE:
            raise _unavailable(
                name, f"its mode is {stat.S_IMODE(found.st_mode):o}; {_MODE:o} is wanted", field
            )
        if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) != _seals():
            raise _unavailable(name, "its size is not sealed", field)
        return Segment(name, found.st_size, descriptor)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise _unavailable(name, f"it cannot be mapped: {error}", field) from error
    finally:
        os.close(descriptor)


def lend(segment: Segment, place: Place, give_back: Callable[[Segment], object]) -> Tensor:
    """A tensor in a segment, which `place_of` finds, for somebody else to keep.

    Args:
        segment: that nobody else uses until it comes back.
        place: in it.
        give_back: takes the segment when nothing refers to the tensor's memory any more.
    """

    def end() -> None:
        del _lent[address]
        give_back(segment)

    tensor = segment.tensor(place, last=end)
    address = tensor.untyped_storage().data_ptr()
    _lent[address] = segment
    return tensor


def place_of(tensor: Tensor) -> Place | None:
    """Where a tensor lies that `lend` has made, or a part of one; None for all others.

    Those that are not row-major without gaps are among the others.
    """
    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return None
    segment = _lent.get(tensor.untyped_storage().data_ptr())
    if segment is None:
        return None
    offset = tensor.data_ptr() - segment.address
    return Place(segment.name, tensor.dtype, tuple(tensor.shape), offset)


def is_held(name: str) -> bool:
    """Whether the process that made a segment is there and has it open."""
    path, memfd = _whereabouts(name, "segment")
    try:
        return _target(path) == memfd
    except OSError:
        return False


class SegmentPool:
    """This process's segments of one connection, each used by one call at a time.

    They are used again, and a larger one takes the place of one that is too small. Threads may
    share a pool. A process that was forked begins with none, since the other one goes on with its
    own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Segment] = []
        # Takes no lock: a tensor may end in the middle of anything.
        self._returned: deque[Segment] = deque()
        self._process = os.getpid()

    def take(self, size: int) -> Segment:
        """A segment of ``size`` bytes or more, for the caller alone until it gives it back.

        One that is not given back is freed with its last reference. That is what to do with one
        that the server may still write to: when a call was not answered.

        Raises:
            OSError: see `create_segment`.
        """
        with self._lock:
            if self._process != os.getpid():
                self._free, self._returned, self._process = [], deque(), os.getpid()
            while self._returned:
                segment = self._returned.popleft()
                if segment.name.startswith(_beginning()):  # else lent before a fork
                    self._free.append(segment)
            del self._free[_KEPT:]
            self._free.sort(key=lambda segment: segment.size)
            for position, segment in enumerate(self._free):
                if segment.size >= size:
                    return self._free.pop(position)
            if self._free:
                self._free.pop()
        return create_segment(_GRAIN * math.ceil(size / _GRAIN))

    def give(self, segment: Segment) -> None:
        """Let the next call have it."""
        self._returned.append(segment)

    def close(self) -> None:
        """Let go of all that no call has."""
        with self._lock:
            self._free.clear()
            self._returned.clear()


def aligned(size: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return ALIGNMENT * math.ceil(size / ALIGNMENT)


def _beginning() -> str:
    """Of the names of this process's segments."""
    return f"{_PREFIX}-{os.getpid()}-"


def _unpin(cuda: Any, device: torch.device, address: int, process: int) -> None:
    if process == os.getpid():  # a process that was forked has no CUDA
        with torch.cuda.device(device):
            code = cuda.cudaHostUnregister(address)
        if code != cuda.cudaError.success:
            log.warning("pinned memory of a segment stays pinned: %s", code)


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def _whereabouts(name: str, field: str) -> tuple[str, str]:
    """The path of a segment, and where the link at this path leads."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidInput(
            f"{field}: {name[:80]!r} is not a segment's name, {_PREFIX}-PID-FD-KEY", field=field
        )
    pid, descriptor, key = match.groups()
    return f"/proc/{pid}/fd/{descriptor}", f"/memfd:{_PREFIX}-{pid}-{key} (deleted)"


def _target(path: str) -> str:
    return str(Path(path).readlink())


def _unavailable(name: str, why: str, field: str) -> SharedMemoryUnavailable:
    return SharedMemoryUnavailable(f"{field}: the segment {name}: {why}", field=field)
