"""`rpc.serve`, from loading to its end, in the process of the test."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranksrgan.contracts import rpc
from ranksrgan.contracts.errors import AddressInUse, InvalidCheckpoint, InvalidConfig
from ranksrgan.contracts.rpc import check_health, start_server
from ranksrgan.contracts.serving.observer import Lengths, Observers
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings, TlsSettings
from ranksrgan.contracts.serving.stop_signals import stop_signals
from tests.contracts.authority import Authority
from tests.contracts.conftest import Catalog, Contrast

NAMES = [ScoringServicer.full_name]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of pytest come back."""
    ending = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in ending}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def address() -> str:
    server = start_server("127.0.0.1:0", [])
    server.stop()
    return server.address


class Recorder:
    """Keeps what a server tells of models."""

    def __init__(self) -> None:
        self.models: list[str] = []

    def queues(self, lengths: Lengths) -> None: ...

    def batch(self, model: str, size: int, seconds: float) -> None: ...

    def request(self, method: str, code: str, seconds: float) -> None: ...

    def loaded(self, model: str, seconds: float) -> None:
        self.models.append(model)


def test_from_loading_to_the_end(address: str) -> None:
    told = Recorder()
    healthy: list[bool] = []
    asking = []

    def ask_and_end() -> None:
        healthy.append(rpc.wait_until_healthy(address, timeout=60))
        os.kill(os.getpid(), signal.SIGTERM)

    def load(observers: Observers) -> rpc.Services:
        healthy.extend([check_health(address, "", timeout=60), check_health(address, timeout=60)])
        observers.loaded("contrast", 0.1)
        asking.append(threading.Thread(target=ask_and_end))
        asking[0].start()
        return rpc.Services([ScoringServicer(Catalog(contrast=Contrast()))])

    assert rpc.serve(ServerSettings(listen=address), NAMES, load, [told]) == 0
    asking[0].join(60)
    assert healthy == [True, False, True]
    assert told.models == ["contrast"]
    assert not check_health(address, "")


def test_a_model_that_cannot_be_loaded_ends_the_server(address: str) -> None:
    def load(observers: Observers) -> rpc.Services:
        raise InvalidCheckpoint("ranker.safetensors is damaged")

    with pytest.raises(InvalidCheckpoint, match="is damaged"):
        rpc.serve(ServerSettings(listen=address), NAMES, load)
    assert not check_health(address, "")


def test_a_signal_ends_the_server_while_it_loads(address: str) -> None:
    over = threading.Event()

    def load(observers: Observers) -> rpc.Services:
        os.kill(os.getpid(), signal.SIGTERM)
        over.wait(60)
        return rpc.Services([])

    assert rpc.serve(ServerSettings(listen=address), NAMES, load) == 0
    over.set()


def test_a_terminal_that_closes_ends_the_server_in_good_order(address: str) -> None:
    def load(observers: Observers) -> rpc.Services:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        return rpc.Services([])

    assert rpc.serve(ServerSettings(listen=address), NAMES, load) == 0


def test_what_nohup_has_ignored_stays_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_signals() as stopping:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stopping.wait(0.1)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_what_is_wrong_is_found_before_anything_is_loaded(address: str) -> None:
    def load(observers: Observers) -> rpc.Services:
        raise AssertionError("it loaded")

    with pytest.raises(InvalidConfig, match="tokens: /no/such/file"):
        rpc.serve(ServerSettings(listen=address, tokens=Path("/no/such/file")), NAMES, load)
    other = start_server("127.0.0.1:0", [])
    try:
        with pytest.raises(AddressInUse, match=f"a server listens on {other.address} already"):
            rpc.serve(ServerSettings(listen=other.address), NAMES, load)
    finally:
        other.stop()


def test_a_certificate_that_expires_soon_is_spoken_of(
    address: str, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    pair = Authority(tmp_path_factory.mktemp("tls")).sign("server", "127.0.0.1", days=3.5)
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)

    def load(observers: Observers) -> rpc.Services:
        os.kill(os.getpid(), signal.SIGTERM)
        return rpc.Services([])

    with caplog.at_level(logging.WARNING, logger="ranksrgan"):
        assert rpc.serve(ServerSettings(listen=address, tls=tls), [], load) == 0
    assert f"the certificate in {pair.certificate} expires in 3 days" in caplog.text
