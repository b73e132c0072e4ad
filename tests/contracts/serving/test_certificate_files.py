"""Certificates that are renewed while a server runs."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import grpc
import pytest
import torch

from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.clients.scorer import RemoteScorer
from ranksrgan.contracts.errors import ServiceUnavailable
from ranksrgan.contracts.rpc import RunningServer, start_server
from ranksrgan.contracts.serving import certificate_files
from ranksrgan.contracts.serving.certificate_files import (
    CertificateFiles,
    warn_if_it_expires_soon,
)
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings, TlsSettings
from tests.contracts.authority import Authority, Pair
from tests.contracts.conftest import Catalog, Contrast

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


class Clock(datetime):
    """Tells the day that the test says."""

    day = date(2030, 1, 1)

    @classmethod
    def now(cls, tz: object = None) -> Clock:
        return cls(cls.day.year, cls.day.month, cls.day.day, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def put(pair: Pair, tls: TlsSettings) -> None:
    replace(pair.certificate, tls.certificate)
    replace(pair.key, tls.key)


def replace(source: Path, target: Path) -> None:
    new = target.with_name("new")
    shutil.copyfile(source, new)
    new.replace(target)


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> TlsSettings:
    """Files of a server's certificate and of its clients' authority, where they are renewed."""
    folder = tmp_path / "etc"
    folder.mkdir()
    settings = TlsSettings(
        certificate=folder / "tls.crt", key=folder / "tls.key", client_ca=folder / "ca.crt"
    )
    put(authority.sign("first", "127.0.0.1"), settings)
    shutil.copyfile(authority.certificate, folder / "ca.crt")
    return settings


def serve(tls: TlsSettings, request: pytest.FixtureRequest) -> RunningServer:
    settings = ServerSettings(listen="127.0.0.1:0", tls=tls)
    server = start_server(settings, [ScoringServicer(Catalog(contrast=Contrast()))])
    request.addfinalizer(server.stop)
    return server


def test_connections_have_the_certificates_of_the_moment(
    authority: Authority,
    tls: TlsSettings,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server = serve(tls, request)
    address = f"grpcs://{server.address}"
    newer = Authority(tmp_path / "newer")
    old, new = authority.sign("old", "old"), newer.sign("new", "new")

    wanted = Contrast().score(IMAGES)

    def connect(trusted: Authority, me: Pair) -> RemoteScorer:
        for name, value in (
            ("CA", trusted.certificate),
            ("CERTIFICATE", me.certificate),
            ("KEY", me.key),
        ):
            monkeypatch.setenv(f"RANKSRGAN_CLIENT_{name}", str(value))
        scorer = connect_scorer(address, "contrast", timeout=20)
        assert torch.equal(scorer.score(IMAGES), wanted)
        return scorer

    earlier = connect(authority, old)

    put(newer.sign("second", "127.0.0.1"), tls)
    with pytest.raises(ServiceUnavailable, match="is refused"):
        connect(authority, old)
    connect(newer, old)
    with pytest.raises(ServiceUnavailable, match="may have refused the client's certificate"):
        connect(newer, new)

    assert tls.client_ca is not None
    replace(newer.certificate, tls.client_ca)
    connect(newer, new)
    with pytest.raises(ServiceUnavailable, match="may have refused the client's certificate"):
        connect(newer, old)
    assert torch.equal(earlier.score(IMAGES), wanted)  # its connection is from before


def test_what_is_no_pair_changes_nothing(
    authority: Authority, tls: TlsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    files = CertificateFiles(tls)
    assert files.renewed() is None
    second = authority.sign("second", "127.0.0.1")
    replace(second.certificate, tls.certificate)
    assert files.renewed() is None
    assert f"tls.key: {tls.key} is not the key of the first certificate" in caplog.text
    assert "the certificates stay those from before" in caplog.text
    caplog.clear()
    assert files.renewed() is None
    assert caplog.text == ""  # once for what is there
    with caplog.at_level(logging.INFO):
        replace(second.key, tls.key)
        assert isinstance(files.renewed(), grpc.ServerCertificateConfiguration)
    assert caplog.messages == [f"{tls.certificate} was read again"]
    tls.key.unlink()
    assert files.renewed() is None
    assert f"tls.key: {tls.key}: No such file or directory" in caplog.text
    replace(second.key, tls.key)
    assert files.renewed() is not None


def test_a_long_run_is_warned_each_day(
    authority: Authority,
    tls: TlsSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(authority.sign("short", "127.0.0.1", days=3.5), tls)
    monkeypatch.setattr(certificate_files, "datetime", Clock)
    files = CertificateFiles(tls)
    files.renewed()
    assert caplog.messages == []  # who starts it has been told
    monkeypatch.setattr(Clock, "day", date(2030, 1, 2))
    files.renewed()
    files.renewed()
    assert caplog.messages == [f"the certificate in {tls.certificate} expires in 3 days"]


def test_one_that_has_run_out_is_an_error(
    authority: Authority, tls: TlsSettings, caplog: pytest.LogCaptureFixture
) -> None:
    put(authority.sign("old", "127.0.0.1", days=-2), tls)
    warn_if_it_expires_soon(tls)
    assert caplog.messages == [
        f"the certificate in {tls.certificate} has expired: clients refuse it"
    ]
    assert caplog.records[0].levelname == "ERROR"
    tls.certificate.unlink()
    warn_if_it_expires_soon(tls)  # whoever reads it says so
    assert len(caplog.messages) == 1
