"""``ranksrgan-metrics serve`` as an operator runs it: a process with everything switched on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch

from ranksrgan.contracts import healthcheck, open_scorer
from ranksrgan.contracts.errors import ServiceUnavailable, Unauthenticated
from ranksrgan.contracts.serving import tokens
from ranksrgan.pipeline.services import free_ports
from tests.contracts.authority import Authority

PATIENCE = 240
IMAGES = torch.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
COMMAND = [sys.executable, "-m", "ranksrgan.metrics.cli", "serve"]


class Manager:
    """Stands for systemd."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(PATIENCE)

    def hears(self, state: str) -> None:
        """Wait until it is told that, whatever else it is told before."""
        while self._socket.recv(1000).decode() != state:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def test_everything_switched_on(
    tmp_path: Path,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("server", "127.0.0.1")
    assert tokens.main(["tester", "--file", str(tmp_path / "tokens")]) == 0
    token = capsys.readouterr().out.strip()
    address, page = (f"127.0.0.1:{port}" for port in free_ports(2))
    config = tmp_path / "metrics.yaml"
    config.write_text(f"""
        listen: {address}
        tls: {{certificate: {pair.certificate}, key: {pair.key}}}
        tokens: {tmp_path}/tokens
        client_limits: {{at_a_time: 4}}
        metrics: {page}
        log_format: json
        grace: 60
        """)
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "200000",
        "RANKSRGAN_WORKERS": "1",
    }
    server = subprocess.Popen(
        [*COMMAND, "--config", str(config)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        manager.hears("READY=1")
        manager.hears("WATCHDOG=1")
        monkeypatch.setenv("RANKSRGAN_CLIENT_CA", str(authority.certificate))
        assert healthcheck.main([f"grpcs://{address}", "--timeout", "60"]) == 0
        with pytest.raises(Unauthenticated):
            open_scorer(f"grpcs://{address}/rmse")
        monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", token)
        scorer = open_scorer(f"grpcs://{address}/rmse")
        assert torch.equal(scorer.score(IMAGES, IMAGES), torch.zeros(2, dtype=torch.float64))
        with urlopen(f"http://{page}/metrics", timeout=60) as answer:
            assert "process_resident_memory_bytes" in answer.read().decode()
        with subprocess.Popen(
            [*COMMAND, "--listen", address], stderr=subprocess.PIPE, text=True
        ) as second:
            _, said = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1
        assert f"error: a server listens on {address} already" in said
        server.send_signal(signal.SIGTERM)
        manager.hears("STOPPING=1")
        _, log = server.communicate(timeout=PATIENCE)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    calls = [line for line in lines if line["logger"] == "ranksrgan.access"]
    assert [
        (line["method"].rpartition("/")[2], line["code"], line["client"]) for line in calls
    ] == [
        ("ListScorers", "UNAUTHENTICATED", "127.0.0.1"),
        ("ListScorers", "OK", "tester"),
        ("Score", "OK", "tester"),
    ]
    assert calls[-1]["model"] == "rmse"
    assert token not in log
    with pytest.raises(ServiceUnavailable):
        open_scorer(f"grpcs://{address}/rmse")


def test_what_is_open_is_said_loudly(manager: Manager) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address}
    flags = ["--listen", "0.0.0.0:0", "--metrics", "0.0.0.0:0"]
    with subprocess.Popen(
        [*COMMAND, *flags], env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        manager.hears("READY=1")
        server.send_signal(signal.SIGINT)
        _, log = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    warnings = [line for line in log.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 3
    assert "OPEN: whoever reaches 0.0.0.0:0 reads the metrics" in warnings[0]
    assert "may call ranksrgan.contracts.v1.ScoringService" in warnings[1]
    assert "there are no tokens" in warnings[1]
    assert "crosses the network without encryption" in warnings[2]


def test_on_loopback_nothing_is(manager: Manager, tmp_path: Path) -> None:
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address}
    with subprocess.Popen(
        [*COMMAND, "--listen", f"unix:{tmp_path}/s.sock"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        manager.hears("READY=1")
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0
    assert "WARNING" not in log
    assert not (tmp_path / "s.sock").exists()


def test_an_expired_certificate_is_no_start(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "tls").sign("server", "127.0.0.1", days=-1)
    flags = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    run = subprocess.run(
        [*COMMAND, "--listen", "127.0.0.1:0", *flags], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert f"in {pair.certificate} expired on" in run.stderr
    assert "Traceback" not in run.stderr
