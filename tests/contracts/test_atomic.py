from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranksrgan.contracts import atomic
from ranksrgan.contracts.checkpoint import load_state, load_weights
from ranksrgan.contracts.errors import DiskFull, InvalidInput


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writing_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    atomic.write_text(path, "grün")
    assert path.read_bytes() == "grün".encode()
    atomic.write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == ["a.txt"]


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def write_half() -> None:
        with atomic.replacing(path) as temporary:
            temporary.write_text("new, but only")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_exception_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic.replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_until_the_end_readers_see_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    atomic.write_text(path, "old")
    with atomic.replacing(path) as temporary:
        assert temporary.parent == path.parent  # so that the rename stays within a file system
        assert temporary.suffix == ".png"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_kill_leaves_the_old_file_and_what_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    program = (
        "import os, signal, sys; from pathlib import Path; from ranksrgan.contracts import atomic\n"
        "with atomic.replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_text() == "old"
    (leftover,) = set(names(tmp_path)) - {"a.txt"}
    atomic.remove_leftovers([tmp_path / "absent" / "a.txt", tmp_path / "b.txt"])
    assert names(tmp_path) == [leftover, "a.txt"]
    atomic.remove_leftovers([path])
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a.txt", "a.tar.gz", "a", "ä" * 40 + ".png", "a\nb.txt"])
def test_what_is_being_written_is_no_leftover(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with atomic.replacing(path) as temporary:
        temporary.write_text("new")
        atomic.remove_leftovers([path])
        assert names(tmp_path) == [temporary.name]
    assert path.read_text() == "new"
    temporary.write_text("half")  # as if it had been killed
    atomic.remove_leftovers([path])
    assert names(tmp_path) == [name]


def test_who_is_taken_for_a_leftover_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process looks after the file was made and before it is held."""
    taken: list[str] = []
    flock = fcntl.flock

    def slowly(handle: int, operation: int) -> None:
        if not taken:
            taken.extend(names(tmp_path))
            atomic.remove_leftovers([tmp_path / "a.txt"])
        flock(handle, operation)

    def remove(temporary: Path) -> None:
        temporary.unlink()

    monkeypatch.setattr(fcntl, "flock", slowly)
    monkeypatch.setattr(atomic, "_remove_unless_held", remove)
    atomic.write_text(tmp_path / "a.txt", "new")
    assert len(taken) == 1
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def test_without_locks_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with atomic.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        atomic.remove_leftovers([tmp_path / "a.txt"])
        assert temporary.exists()
    assert names(tmp_path) == ["a.txt"]


def test_a_result_is_as_readable_as_any_new_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "a.txt", "x")
        with atomic.replacing(tmp_path / "b.txt") as temporary:
            temporary.unlink()  # some writers replace the file instead of filling it
            temporary.touch(0o600)
    finally:
        os.umask(old)
    for name in ("a.txt", "b.txt"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("old")
    path.chmod(0o600)
    with atomic.replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_nobody_may_write_is_replaced_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    with atomic.replacing(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o644
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    os.chown(path, 1234, 4321)
    atomic.write_text(path, "new")
    found = path.stat()
    assert (path.read_text(), found.st_uid, found.st_gid) == ("new", 1234, 4321)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.ENOSYS])
def test_an_owner_that_may_not_be_kept_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A user namespace that does not know the owner says EINVAL, some file systems ENOSYS."""

    def refused(*given: object) -> None:
        asked.append(given)
        raise OSError(number, "no")

    asked: list[object] = []
    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "chown", refused)
    atomic.write_text(path, "new")
    assert (path.read_text(), asked) == ("new", [])  # it is the right one already
    monkeypatch.setattr(atomic, "_owner", lambda path: (-1, -1))
    atomic.write_text(path, "newer")
    assert path.read_text() == "newer"
    assert len(asked) == 1


def test_a_link_is_replaced(tmp_path: Path) -> None:
    """What it leads to may be others' too, as in a cache of large files."""
    real, link = tmp_path / "a.txt", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o444)
    link.symlink_to("a.txt")
    atomic.write_text(link, "new")
    assert (real.read_text(), link.read_text(), link.is_symlink()) == ("old", "new", False)
    assert os.access(link, os.W_OK)


def test_an_output_goes_to_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link, other = tmp_path / "there" / "a.txt", tmp_path / "link", tmp_path / "other"
    real.write_text("old")
    link.symlink_to("there/a.txt")
    other.symlink_to("link")
    atomic.write_output(other, "new")
    assert real.read_text() == "new"
    assert link.is_symlink()
    assert other.is_symlink()
    assert not real.is_symlink()
    assert names(real.parent) == ["a.txt"]
    (tmp_path / "ahead").symlink_to("there/b.txt")
    atomic.write_output(tmp_path / "ahead", "first")
    assert (real.parent / "b.txt").read_text() == "first"


def test_an_output_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"file/a\.json cannot be written: \w+") as caught:
        atomic.write_output(tmp_path / "file/a.json", "x")
    assert caught.value.field == str(tmp_path / "file/a.json")
    monkeypatch.setattr(atomic, "write_bytes", full)
    with pytest.raises(DiskFull, match=r"^no room$"):
        atomic.write_output(tmp_path / "a.json", "x")


def full(path: Path, data: bytes) -> None:
    raise DiskFull("no room")


def test_an_output_may_be_the_standard_output(tmp_path: Path) -> None:
    """A file that a shell writes to before and after us."""
    program = (
        "from pathlib import Path; from ranksrgan.contracts import atomic; print('one')\n"
        "atomic.write_output(Path('/dev/stdout'), 'two\\n')"
    )
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as target:
        subprocess.run([sys.executable, "-c", program], stdout=target, check=True)
        target.write("after\n")
    assert log.read_text() == "before\none\ntwo\nafter\n"


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        with atomic.replacing(pipe) as temporary:
            assert temporary.suffix == ".csv"
            temporary.write_bytes(b"through")
        assert read.result(timeout=10) == b"through"
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe.csv"]


@pytest.mark.parametrize("device", ["null", "full"])
def test_a_device_is_written_into(tmp_path: Path, device: str) -> None:
    link = tmp_path / device  # by a link: nothing that goes wrong here is to destroy a device
    link.symlink_to(f"/dev/{device}")
    if device == "full":
        with pytest.raises(DiskFull, match="full cannot be written"):
            atomic.write_text(link, "x")
    else:
        atomic.write_text(link, "x")
    assert link.is_symlink()
    assert link.is_char_device()
    assert names(tmp_path) == [device]


def test_many_writers_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    contents = [bytes([i]) * 100_000 for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: atomic.write_bytes(path, content), contents))
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["a.bin"]


def test_the_longest_name_that_fits(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".png")  # 254 bytes of the 255
    atomic.write_text(path, "x")
    assert path.read_text() == "x"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError):
        atomic.write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        DiskFull, match=r"a\.txt cannot be written: .* MiB are free there"
    ) as caught:
        atomic.write_text(path, "new")
    assert caught.value.field == str(path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_other_failures_are_what_they_were(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic.room_for(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "no")


SHORT_OF_ROOM = """
import resource, sys
from pathlib import Path
import torch
from ranksrgan.contracts.checkpoint import save_state, save_weights
from ranksrgan.contracts.errors import DiskFull

folder = Path(sys.argv[1])
def save(size):
    tensors = {"a": torch.full((size,), float(size))}
    for path, write in (
        (folder / "a.pt", lambda path: save_state(path, tensors)),
        (folder / "a.safetensors", lambda path: save_weights(
            path, tensors, kind="generator", architecture="none", options={})),
    ):
        try:
            write(path)
            print("written")
        except DiskFull as error:
            print("full" if str(path) in str(error) else error)
save(10)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
save(100_000)
"""


def test_writers_of_checkpoints_that_run_out_of_room(tmp_path: Path) -> None:
    """A limit on the size of files makes a write fail half way, as a full disk does."""
    program = [sys.executable, "-c", SHORT_OF_ROOM, str(tmp_path)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["written", "written", "full", "full"]
    assert names(tmp_path) == ["a.pt", "a.safetensors"]
    assert load_state(tmp_path / "a.pt")["a"].tolist() == [10.0] * 10
    assert load_weights(tmp_path / "a.safetensors").tensors["a"].tolist() == [10.0] * 10
