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
from ranksrgan.contracts.errors import DiskFull, RankSRGANError, ServiceUnavailable
from ranksrgan.contracts.operations_client import connect_operation
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
    fill_root(tmp_path)
    with serving(tmp_path, ("ranker",)) as targets:
        first = targets["ranker"]
        second = list(first.command)
        elsewhere = [f"{part}2" if part == first.address else part for part in second]
        runs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for command in (second, elsewhere)
        ]
        for run, what in zip(runs, ("listens on unix:", "another server works on"), strict=True):
            _, said = run.communicate(timeout=PATIENCE)
            assert run.returncode == 1
            assert what in said
            assert "Traceback" not in said
        assert first.is_well()
        assert connect_scorer(first.address, "tiny").score(torch.rand(1, 3, 32, 32)).shape == (1,)


#: KiB of one file that the processes of a server may write: less than the result has.
LIMITS = {"build": 4, "ranker": 32, "generator": 6}


def test_a_full_disk_ends_an_operation_and_nothing_else(tmp_path: Path) -> None:
    """A limit of the size of files has the effect of a full disk, and of no other user's."""
    fill_root(tmp_path)
    servers = {kind: target(KINDS[kind].service, tmp_path) for kind in LIMITS}
    try:
        for kind, server in servers.items():
            limited = f'ulimit -f {LIMITS[kind]}; exec "$@"'
            server.command = ["bash", "-c", limited, "limited", *server.command]
            server.launch()
        for server in servers.values():
            server.await_health()
        operations = {
            kind: KINDS[kind].start(server.address, "full") for kind, server in servers.items()
        }
        for kind, operation in operations.items():
            with pytest.raises(DiskFull) as caught:
                operation.result(PATIENCE)
            assert str(tmp_path) not in str(caught.value), kind
        read_everything(tmp_path)
        for kind, server in servers.items():
            assert server.is_well()
            again = connect_operation(server.address, operations[kind].name, timeout=PATIENCE)
            assert again.done
        assert not (tmp_path / "datasets" / "full").exists()
    finally:
        for server in servers.values():
            server.end()


def test_a_server_that_loads_a_model_while_it_is_replaced(tmp_path: Path) -> None:
    """It starts with one of the two, whole; or says what is wrong with what a copy has half done."""
    fill_root(tmp_path)
    path = tmp_path / "rankers" / "tiny.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # as somebody would who copies in place
    server = target("ranker", tmp_path)
    done = subprocess.run(server.command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "tiny.safetensors is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    path.write_bytes(whole)
    try:
        server.start()
        assert server.is_well()
    finally:
        server.end()
