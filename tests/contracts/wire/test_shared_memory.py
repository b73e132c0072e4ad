"""Segments: what may be opened, and who has which."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ranksrgan.contracts.errors import InvalidInput, SharedMemoryUnavailable
from ranksrgan.contracts.wire import codec, shared_memory
from ranksrgan.contracts.wire.shared_memory import (
    Place,
    Segment,
    SegmentPool,
    create_segment,
    is_held,
    lend,
    open_segment,
    place_of,
)

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def place(segment: Segment, *shape: int, dtype: torch.dtype = torch.float32, at: int = 0) -> Place:
    return Place(segment.name, dtype, shape, at)


@pytest.fixture
def descriptors() -> Iterator[list[int]]:
    """File descriptors that are closed after the test."""
    opened: list[int] = []
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def named(descriptor: int, key: str, pid: int | None = None) -> str:
    return f"ranksrgan-{pid or os.getpid()}-{descriptor}-{key}"


def memfd(key: str, *, mode: int = 0o600, seals: int = SEALS, size: int = 4096) -> int:
    descriptor = os.memfd_create(f"ranksrgan-{os.getpid()}-{key}", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    os.fchmod(descriptor, mode)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def test_both_sides_see_the_same_memory() -> None:
    ours = create_segment(1000)
    theirs = open_segment(ours.name)
    ours.tensor(place(ours, 2, 3)).copy_(torch.arange(6.0).reshape(2, 3))
    assert theirs.tensor(place(theirs, 2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    theirs.tensor(place(theirs, 3, dtype=torch.float64, at=504)).copy_(torch.ones(3))
    assert ours.tensor(place(ours, 3, dtype=torch.float64, at=504)).tolist() == [1, 1, 1]


def test_another_process_reaches_it_as_long_as_its_owner_holds_it() -> None:
    ours = create_segment(64)
    ours.tensor(place(ours, 4)).fill_(2.5)
    code = (
        "import sys, torch\n"
        "from ranksrgan.contracts.wire.shared_memory import Place, open_segment\n"
        "found = open_segment(sys.argv[1])\n"
        "print(found.tensor(Place(sys.argv[1], torch.float32, (4,), 0)).tolist())\n"
    )
    command = [sys.executable, "-c", code, ours.name]
    assert subprocess.check_output(command, text=True) == "[2.5, 2.5, 2.5, 2.5]\n"
    theirs, name = open_segment(ours.name), ours.name
    assert is_held(name)
    del ours
    assert not is_held(name)
    assert theirs.tensor(Place(name, torch.float32, (4,), 0)).tolist() == [2.5] * 4
    with pytest.raises(SharedMemoryUnavailable):
        open_segment(name)


def test_its_size_stays_what_it_is() -> None:
    ours = create_segment(4096)
    descriptor = int(ours.name.split("-")[2])
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ranksrgan",
        "/dev/shm/ranksrgan-1-2-" + "0" * 32,
        "ranksrgan-1-../../etc/passwd-" + "0" * 32,
        "ranksrgan-self-3-" + "0" * 32,
        "ranksrgan-0-3-" + "0" * 32,
        "ranksrgan-1-3-" + "0" * 31,
        "ranksrgan-1-3-" + "0" * 32 + "\n",
        "ranksrgan-1-3-" + "A" * 32,
        "ranksrgan-\u0661-3-" + "0" * 32,
        "psm-1-3-" + "0" * 32,
        "x" * 100_000,
    ],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a segment's name") as caught:
        open_segment(name, "images[0].segment")
    assert caught.value.field == "images[0].segment"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"mode": 0o644}, "its mode is 644"),
        ({"mode": 0o660}, "its mode is 660"),
        ({"seals": 0}, "not sealed"),
        ({"seals": fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL}, "not sealed"),
        ({"seals": fcntl.F_SEAL_SHRINK}, "not sealed"),
        ({"seals": SEALS | fcntl.F_SEAL_WRITE}, "not sealed"),
        ({"size": 0}, "cannot be mapped"),
    ],
)
def test_what_is_not_made_as_it_should(
    options: dict[str, int], why: str, descriptors: list[int]
) -> None:
    key = secrets.token_hex(16)
    descriptors.append(memfd(key, **options))
    with pytest.raises(SharedMemoryUnavailable, match=why):
        open_segment(named(descriptors[0], key))


def test_what_belongs_to_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = create_segment(64)
    monkeypatch.setattr(shared_memory.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SharedMemoryUnavailable, match="another user"):
        open_segment(ours.name)


def test_what_is_something_else(tmp_path: Path, descriptors: list[int]) -> None:
    key = secrets.token_hex(16)
    (tmp_path / "file").write_bytes(bytes(4096))
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    lookalike = tmp_path / f"memfd:ranksrgan-{os.getpid()}-{key} (deleted)"
    lookalike.write_bytes(bytes(4096))
    for path in ("link", "fifo", lookalike.name):
        descriptors.append(os.open(tmp_path / path, os.O_RDWR | os.O_NONBLOCK))
    descriptors.append(memfd(key))
    other = secrets.token_hex(16)
    names = [
        *(named(descriptor, key) for descriptor in descriptors[:3]),
        named(descriptors[3], other),  # another key than the memfd's
        named(descriptors[3], key, pid=os.getppid()),
        named(descriptors[3], key, pid=2**31 - 1),  # no such process
        named(10**8, key),
    ]
    for name in names:
        with pytest.raises(SharedMemoryUnavailable):
            open_segment(name)
    assert open_segment(named(descriptors[3], key)).size == 4096


@pytest.mark.parametrize(
    ("shape", "dtype", "at"),
    [
        ((1025,), torch.float32, 0),
        ((1,), torch.float32, 4096),
        ((1,), torch.float32, -4),
        ((-1, -4), torch.float32, 0),
        ((2**62, 2**62), torch.float32, 0),
        ((1,), torch.float32, 2),
        ((1,), torch.float64, 4),
    ],
)
def test_places_that_are_not_there(shape: tuple[int, ...], dtype: torch.dtype, at: int) -> None:
    segment = create_segment(4096)
    with pytest.raises(InvalidInput) as caught:
        segment.tensor(Place(segment.name, dtype, shape, at), "images[1]")
    assert caught.value.field == "images[1]"


def test_a_pool_uses_again_what_is_large_enough() -> None:
    pool = SegmentPool()
    first = pool.take(100)
    name = first.name
    pool.give(first)
    assert pool.take(2**19) is first
    assert pool.take(100).name != name  # while the first is taken
    pool.give(first)
    del first
    assert is_held(name)
    pool.close()
    assert not is_held(name)


def test_a_larger_segment_takes_the_place_of_one_that_is_too_small() -> None:
    pool = SegmentPool()
    small = pool.take(1)
    name = small.name
    pool.give(small)
    del small
    pool.take(2**22)
    assert not is_held(name)


def test_threads_get_segments_of_their_own() -> None:
    pool = SegmentPool()
    everybody, wrong = threading.Barrier(4), []

    def work(number: int) -> None:
        everybody.wait(60)
        for _ in range(200):
            segment = pool.take(64)
            memory = segment.tensor(place(segment, 16)).fill_(number)
            if memory.tolist() != [number] * 16:
                wrong.append(number)
            pool.give(segment)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tensor_says_when_it_is_not_used_any_more() -> None:
    segment = create_segment(4096)
    ended: list[bool] = []
    tensor = segment.tensor(place(segment, 4, 8), last=lambda: ended.append(True))
    view = tensor[1:].t()
    array = view.numpy()
    del tensor, view
    assert ended == []
    del array
    assert ended == [True]


def test_a_forked_process_begins_with_no_segments() -> None:
    code = (
        "import os\n"
        "from ranksrgan.contracts.wire.shared_memory import SegmentPool\n"
        "pool = SegmentPool()\n"
        "segment = pool.take(64)\n"
        "pool.give(segment)\n"
        "if os.fork():\n"
        "    _, status = os.wait()\n"
        "    print(os.waitstatus_to_exitcode(status), pool.take(64) is segment)\n"
        "else:\n"
        "    os._exit(3 if pool.take(64) is not segment else 4)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.check_output(command, text=True) == "3 True\n"


def test_places_of_a_batch_and_of_its_images() -> None:
    batch = Place("s", torch.float32, (3, 2, 5), 64)
    parts = batch.apart()
    assert [(part.shape, part.offset) for part in parts] == [
        ((2, 5), 64),
        ((2, 5), 104),
        ((2, 5), 144),
    ]

    def found(places: list[Place]) -> Place | None:
        return codec.shared_batch_from_proto(list(map(codec.shared_tensor_to_proto, places)), "p")

    assert found(parts) == batch
    assert found(parts[1:]) == Place("s", torch.float32, (2, 2, 5), 104)
    for others in (
        [],
        parts[::-1],
        parts[::2],
        [parts[0], parts[0]],
        [parts[0], Place("t", torch.float32, (2, 5), 104)],
        [parts[0], Place("s", torch.float16, (2, 5), 104)],
        [parts[0], Place("s", torch.float32, (5, 2), 104)],
    ):
        assert found(others) is None


def test_what_is_lent_is_found_again_as_long_as_it_is_held() -> None:
    segment = create_segment(2**16)
    back: list[Segment] = []
    tensor = lend(segment, place(segment, 4, 3, 8, at=128), back.append)
    assert place_of(tensor) == place(segment, 4, 3, 8, at=128)
    part = tensor[1:3].detach()
    assert place_of(part) == place(segment, 2, 3, 8, at=128 + 96)
    assert place_of(tensor.view(torch.int32)) == place(segment, 4, 3, 8, dtype=torch.int32, at=128)
    for other in (tensor[:, :1], tensor.transpose(1, 2), tensor.clone(), torch.zeros(4, 3, 8)):
        assert place_of(other) is None
    del tensor, other
    assert back == []
    del part
    assert back == [segment]
    assert shared_memory._lent == {}


def test_a_segment_that_was_lent_before_a_fork_is_not_used_after_it() -> None:
    code = (
        "import os\n"
        "from ranksrgan.contracts.wire.shared_memory import SegmentPool\n"
        "pool = SegmentPool()\n"
        "lent = pool.take(100)\n"
        "if os.fork() == 0:\n"
        "    pool.take(100)\n"
        "    pool.give(lent)\n"
        "    os._exit(3 if pool.take(100).name == lent.name else 4)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "4\n"


class Driver:
    """What `torch.cuda.cudart` gives, as far as it is used here."""

    def __init__(self, patch: pytest.MonkeyPatch, code: int) -> None:
        self.cudaError = SimpleNamespace(success=0)
        self.calls: list[tuple[object, ...]] = []
        self._code = code

        def check(code: int) -> None:
            if code:
                raise RuntimeError("out of memory")

        def using(device: torch.device) -> AbstractContextManager[None]:
            self.calls.append(("use", device.index))
            return nullcontext()

        patch.setattr(torch.cuda, "cudart", lambda: self)
        patch.setattr(torch.cuda, "check_error", check)
        patch.setattr(torch.cuda, "device", using)

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:
        self.calls.append(("register", address, size))
        return self._code

    def cudaHostUnregister(self, address: int) -> int:
        self.calls.append(("unregister", address))
        return 0


def test_memory_is_pinned_once_and_let_go_before_it_is_unmapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = Driver(monkeypatch, 0)
    segment = create_segment(4096)
    address = segment.address
    segment.pin(torch.device("cuda", 1))
    segment.pin(torch.device("cuda", 0))
    assert driver.calls == [("use", 1), ("register", address, 4096)]
    del segment
    gc.collect()
    assert driver.calls[2:] == [("use", 1), ("unregister", address)]


def test_what_cannot_be_pinned_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Driver(monkeypatch, 2)
    segment = create_segment(4096)
    with caplog.at_level(logging.INFO, "ranksrgan"):
        for _ in range(2):
            segment.pin(torch.device("cuda", 0))
    assert [record.getMessage() for record in caplog.records] == [
        f"a GPU reaches {segment.name} through a buffer only: out of memory"
    ]
    assert segment.tensor(place(segment, 4)).fill_(1).sum() == 4
    del segment
    gc.collect()
    assert [call[0] for call in driver.calls] == ["use", "register"]
