"""SIGTERM under load, a full disk, a taken address, a model that is replaced while it is loaded."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.clients.operations import connect_operation
from ranksrgan.contracts.errors import DiskFull, RankSRGANError, ServiceUnavailable
from tests.attacks.kills import KINDS, read_everything
from tests.attacks.targets import PATIENCE, Target, fill_root, serving, target

pytestmark = pytest.mark.timeout(4 * PATIENCE)

CLIENTS = 12


def test_sigterm_under_load_leaves_no_request_without_its_answer(tmp_path: Path) -> None:
    """What the server has begun before or after the signal reaches its client; all other calls are
    told that the service is going."""
    address = f"unix:{tmp_path}/s.sock"
    script = str(Path(__file__).with_name("counting_server.py"))
    server = Target("counting", address, [sys.executable, script, address], tmp_path / "log")
    server.start()
    scorers = [connect_scorer(address, "counting", timeout=PATIENCE) for _ in range(CLIENTS)]
    outcomes: Counter[str] = Counter()
    lock, busy = threading.Lock(), threading.Semaphore(0)

    def client(number: int) -> None:
        images = torch.full((1, 3, 8, 8), number / CLIENTS)
        while True:
            try:
                score = scorers[number].score(images)
                right = abs(float(score) - number / CLIENTS) < 1e-6
                with lock:
                    outcomes["right" if right else "wrong"] += 1
                busy.release()
            except ServiceUnavailable:
                return
            except RankSRGANError as error:
                with lock:
                    outcomes[repr(error)] += 1
                return

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in range(5 * CLIENTS):
        assert busy.acquire(timeout=PATIENCE)
    assert server.end(signal.SIGTERM) == 0
    for thread in threads:
        thread.join(PATIENCE)
    begun = server.log.read_text().count("begun\n")
    assert begun >= 5 * CLIENTS
    assert outcomes == {"right": begun}


def test_a_second_server_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    with serving(tmp_path, ("metrics",)) as targets:
        first = targets["metrics"]
        second = subprocess.run(
            first.command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert second.returncode == 1
        assert f"a server listens on {first.address} already" in second.stderr
        assert "Traceback" not in second.stderr
        assert first.is_well()


def test_a_full_disk_ends_an_operation_and_nothing_else(tmp_path: Path) -> None:
    """A limit of the size of files has the effect of a full disk, and no other user feels it."""
    fill_root(tmp_path)
    server = target("ranker", tmp_path)
    # Less KiB than a training state takes; weights and what tells of the operation fit.
    server.command = ["bash", "-c", 'ulimit -f 32; exec "$@"', "limited", *server.command]
    try:
        server.start()
        operation = KINDS["ranker"].start(server.address, "full")
        with pytest.raises(DiskFull) as caught:
            operation.result(PATIENCE)
        assert str(tmp_path) not in str(caught.value)
        read_everything(tmp_path)
        assert server.is_well()
        assert connect_operation(server.address, operation.name, timeout=PATIENCE).done
    finally:
        server.end()


def test_a_server_does_not_start_with_half_a_model(tmp_path: Path) -> None:
    """Ours are replaced as a whole; somebody else may copy one in place, just when it is loaded."""
    fill_root(tmp_path)
    path = tmp_path / "rankers" / "tiny.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = target("ranker", tmp_path).command
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "tiny.safetensors is damaged" in done.stderr
    assert "Traceback" not in done.stderr
