"""Servers with certificates of the test's own: who gets in, and what is said to who does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import torch
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ranksrgan.contracts import healthcheck, open_scorer
from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, ServiceUnavailable
from ranksrgan.contracts.rpc import RunningServer, check_health, open_channel, start_server
from ranksrgan.contracts.serving.client_credentials import ClientCredentials, explain
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ServerSettings, TlsSettings
from ranksrgan.contracts.serving.tls import check_client_ca, days_left, read_certificate
from tests.contracts.authority import Authority, Pair
from tests.contracts.conftest import Catalog, Contrast

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
Start = Callable[..., RunningServer]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def start_tls(request: pytest.FixtureRequest) -> Start:
    def start(pair: Pair, client_ca: Path | None = None) -> RunningServer:
        tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=client_ca)
        settings = ServerSettings(listen="127.0.0.1:0", tls=tls)
        server = start_server(settings, [ScoringServicer(Catalog(contrast=Contrast()))])
        request.addfinalizer(server.stop)
        return server

    return start


def trust(monkeypatch: pytest.MonkeyPatch, **values: Path | str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"RANKSRGAN_CLIENT_{name}", str(value))


def test_a_client_that_trusts_the_authority_gets_in(
    authority: Authority, start_tls: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_tls(authority.sign("server", "127.0.0.1"))
    trust(monkeypatch, CA=authority.certificate)
    scorer = open_scorer(f"grpcs://{server.address}/contrast")
    assert torch.equal(scorer.score(IMAGES), Contrast().score(IMAGES))
    assert check_health(f"grpcs://{server.address}", ScoringServicer.full_name)
    assert not check_health(server.address, timeout=5)


def test_another_authority_is_not_trusted(
    authority: Authority, start_tls: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = start_tls(authority.sign("server", "127.0.0.1"))
    trust(monkeypatch, CA=Authority(tmp_path / "other").certificate)
    wrong = rf"the certificate of the service at grpcs://{server.address} is refused"
    with pytest.raises(ServiceUnavailable, match=wrong):
        connect_scorer(f"grpcs://{server.address}", "contrast")


def test_a_certificate_of_another_name(
    authority: Authority, start_tls: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_tls(authority.sign("server", "ranker.example"))
    trust(monkeypatch, CA=authority.certificate)
    with pytest.raises(ServiceUnavailable, match=r"certificate of .* is another name's"):
        connect_scorer(f"grpcs://{server.address}", "contrast")
    trust(monkeypatch, SERVER_NAME="ranker.example")
    assert connect_scorer(f"grpcs://{server.address}", "contrast").score(IMAGES).shape == (2,)


def test_clients_certificates_are_asked_for(
    authority: Authority, start_tls: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    people = Authority(tmp_path / "people")
    server = start_tls(authority.sign("server", "127.0.0.1"), people.certificate)
    trust(monkeypatch, CA=authority.certificate)
    with pytest.raises(ServiceUnavailable, match="it may want a client's certificate"):
        connect_scorer(f"grpcs://{server.address}", "contrast", timeout=20)
    with pytest.raises(ServiceUnavailable, match="it may want encryption"):
        connect_scorer(server.address, "contrast", timeout=20)
    stranger = authority.sign("stranger", "me@example.org", common_name="me")
    trust(monkeypatch, CERTIFICATE=stranger.certificate, KEY=stranger.key)
    refused = f"it may have refused the client's certificate in {stranger.certificate}"
    with pytest.raises(ServiceUnavailable, match=re.escape(refused)):
        connect_scorer(f"grpcs://{server.address}", "contrast", timeout=20)
    me = people.sign("me", "me@example.org", common_name="me")
    trust(monkeypatch, CERTIFICATE=me.certificate, KEY=me.key)
    assert connect_scorer(f"grpcs://{server.address}", "contrast").score(IMAGES).shape == (2,)
    monkeypatch.delenv("RANKSRGAN_CLIENT_KEY")
    with pytest.raises(InvalidConfig, match="CERTIFICATE and RANKSRGAN_CLIENT_KEY go together"):
        connect_scorer(f"grpcs://{server.address}", "contrast")


def test_a_clients_own_files_are_not_blamed_on_the_service(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    address = "grpcs://127.0.0.1:1"  # nobody is asked
    me, other = authority.sign("me", "me"), authority.sign("other", "other")
    old = authority.sign("old", "me", days=-2)
    locked, none = tmp_path / "locked.key", tmp_path / "letter.txt"
    none.write_text("Dear Ada, ")
    key = load_pem_private_key(me.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    def said(**files: Path) -> tuple[str, str | None]:
        for name in ("CA", "CERTIFICATE", "KEY"):
            monkeypatch.delenv(f"RANKSRGAN_CLIENT_{name}", raising=False)
        trust(monkeypatch, **files)
        with pytest.raises(InvalidConfig) as caught:
            connect_scorer(address, "contrast")
        return str(caught.value), caught.value.field

    for files, field, words in (
        ((me.certificate, other.key), "KEY", f"{other.key} is not the key of the first"),
        ((me.certificate, locked), "KEY", f"{locked} is no private key without a passphrase"),
        ((none, me.key), "CERTIFICATE", f"{none} holds no PEM certificate"),
        ((old.certificate, old.key), "CERTIFICATE", f"in {old.certificate} expired on"),
    ):
        message, named = said(CERTIFICATE=files[0], KEY=files[1])
        assert named == f"RANKSRGAN_CLIENT_{field}"
        assert message.startswith(f"RANKSRGAN_CLIENT_{field}: ")
        assert words in message
    garbled = tmp_path / "garbled.pem"
    garbled.write_bytes(authority.certificate.read_bytes().replace(b"MII", b"---"))
    for ca in (none, garbled, me.key):
        message = f"RANKSRGAN_CLIENT_CA: {ca} holds no PEM certificate"
        assert said(CA=ca) == (message, "RANKSRGAN_CLIENT_CA")


def test_an_old_certificate_further_down_a_clients_chain_stops_nobody(
    authority: Authority, start_tls: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, old = authority.sign("me", "me"), authority.sign("old", "old", days=-2)
    chain = me.certificate.with_name("chain.pem")
    chain.write_bytes(me.certificate.read_bytes() + old.certificate.read_bytes())
    server = start_tls(authority.sign("server", "127.0.0.1"), authority.certificate)
    trust(monkeypatch, CA=authority.certificate, CERTIFICATE=chain, KEY=me.key)
    assert connect_scorer(f"grpcs://{server.address}", "contrast").score(IMAGES).shape == (2,)
    with pytest.raises(InvalidConfig, match=rf"tls\.certificate: .* in {chain} expired on"):
        read_certificate(chain, me.key)


def test_tls_where_there_is_none(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server = start_server("127.0.0.1:0", [ScoringServicer(Catalog(contrast=Contrast()))])
    request.addfinalizer(server.stop)
    trust(monkeypatch, CA=authority.certificate)
    with pytest.raises(ServiceUnavailable, match="has no encryption, so no certificate"):
        connect_scorer(f"grpcs://{server.address}", "contrast")


def test_a_server_with_an_expired_certificate_does_not_start(
    authority: Authority, start_tls: Start
) -> None:
    pair = authority.sign("server", "127.0.0.1", days=-2)
    when = (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%d")
    with pytest.raises(InvalidConfig) as caught:
        start_tls(pair)
    assert f"in {pair.certificate} expired on {when}" in str(caught.value)
    assert caught.value.field == "tls.certificate"


def test_a_client_does_not_accept_an_expired_certificate(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that has run for longer than its certificate."""
    pair = authority.sign("server", "127.0.0.1", days=-2)
    server = grpc.server(ThreadPoolExecutor(1))
    contents = (pair.key.read_bytes(), pair.certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([contents]))
    server.start()
    trust(monkeypatch, CA=authority.certificate)
    address = f"grpcs://127.0.0.1:{port}"
    try:
        with pytest.raises(ServiceUnavailable) as caught:
            connect_scorer(address, "contrast")
    finally:
        server.stop(0)
    assert str(caught.value) == (
        f"the certificate of the service at {address} is refused: certificate has expired"
    )


def test_what_is_no_pair(authority: Authority, tmp_path: Path) -> None:
    one, other = authority.sign("one", "a.example"), authority.sign("other", "b.example")
    key, chain = read_certificate(one.certificate, one.key)
    assert (key, chain) == (one.key.read_bytes(), one.certificate.read_bytes())
    with pytest.raises(InvalidConfig, match=r"other\.key is not the key of the first certificate"):
        read_certificate(one.certificate, other.key)
    with pytest.raises(InvalidConfig, match=r"one\.key holds no PEM certificate"):
        read_certificate(one.key, one.key)
    with pytest.raises(InvalidConfig, match=r"one\.pem is no private key without a passphrase"):
        read_certificate(one.certificate, one.certificate)
    with pytest.raises(InvalidConfig, match=r"tls\.key: .*none: No such file") as caught:
        read_certificate(one.certificate, tmp_path / "none")
    assert caught.value.field == "tls.key"
    with pytest.raises(InvalidConfig, match=r"tls\.client_ca: .* holds no PEM certificate"):
        check_client_ca(one.key)


def test_an_authority_of_clients_that_has_expired(authority: Authority) -> None:
    expired = authority.sign("expired", "a.example", days=-1).certificate
    with pytest.raises(InvalidConfig, match=r"tls\.client_ca: .*expired\.pem expired on"):
        check_client_ca(expired)
    both = expired.with_name("both.pem")
    both.write_bytes(expired.read_bytes() + authority.certificate.read_bytes())
    assert check_client_ca(both) == both.read_bytes()


def test_it_is_said_when_a_certificate_expires_soon(authority: Authority) -> None:
    assert days_left(authority.sign("new", "a.example", days=30).certificate) is None
    assert days_left(authority.sign("old", "a.example", days=3.5).certificate) == 3


def test_healthcheck_over_tls(
    authority: Authority,
    start_tls: Start,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = start_tls(authority.sign("server", "ranker.example"))
    command = [f"grpcs://{server.address}", "--timeout", "20", "--verbose"]
    trusting = [*command, "--ca", str(authority.certificate)]
    assert healthcheck.main([*trusting, "--server-name", "ranker.example"]) == 0
    assert healthcheck.main(trusting) == 1
    assert "is another name's" in capsys.readouterr().err
    named = [*trusting, "--server-name", "ranker.example", "--service"]
    assert healthcheck.main([*named, ScoringServicer.full_name]) == 0
    assert healthcheck.main([*named, ""]) == 0
    assert healthcheck.main([*named, "no.such.Service"]) == 1
    assert "has no service 'no.such.Service'" in capsys.readouterr().err
    monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN_FILE", "/no/such/token")  # it sends none
    assert healthcheck.main(named[:-1]) == 0
    assert healthcheck.main([*command, "--ca", "/no/such/file"]) == 1
    assert "RANKSRGAN_CLIENT_CA: /no/such/file" in capsys.readouterr().err


def test_an_address_over_tls_needs_a_port() -> None:
    with pytest.raises(InvalidInput, match="write grpcs://HOST:PORT/NAME"):
        open_scorer("grpcs://host/name")


def test_credentials_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    given = {
        "RANKSRGAN_CLIENT_CA": "ca.pem",
        "RANKSRGAN_CLIENT_TOKEN_FILE": str(file),
        "RANKSRGAN_CLIENT_SERVER_NAME": "",
    }
    credentials = ClientCredentials.from_environment(given)
    assert credentials == ClientCredentials(ca=Path("ca.pem"), token_file=file)
    both = {**given, "RANKSRGAN_CLIENT_TOKEN": "abc"}
    with pytest.raises(InvalidConfig, match="are both set; one is enough"):
        ClientCredentials.from_environment(both)
    credentials = ClientCredentials.from_environment({"RANKSRGAN_CLIENT_TOKEN": "abc"})
    assert credentials == ClientCredentials(token="abc")
    assert "abc" not in repr(credentials)
    with pytest.raises(InvalidConfig, match="TOKEN has characters that no token has") as caught:
        ClientCredentials.from_environment({"RANKSRGAN_CLIENT_TOKEN": "two\nlines"})
    assert "lines" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "TOKEN_FILE: .*token: No such file"),
        ("two\nlines", "TOKEN_FILE has characters that no token has"),
        ("\n", "the token in RANKSRGAN_CLIENT_TOKEN_FILE is missing"),
    ],
)
def test_a_file_without_a_token_is_said_where_one_is_to_be_sent(
    tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidConfig, match=message):
        open_channel("unix:/no.sock", ClientCredentials(token_file=file))


def test_other_failures_are_not_explained() -> None:
    assert explain("host:1", "failed to connect to all addresses") is None


def test_a_certificate_that_may_be_refused_is_the_one_that_was_shown() -> None:
    closed = "failed to connect to all addresses; all backends failing: UNAVAILABLE: Socket closed"
    shown = ClientCredentials(certificate=Path("me.pem"), key=Path("me.key"))
    said = explain("grpcs://host:1", closed, shown)
    assert said is not None
    assert said.endswith("it may have refused the client's certificate in me.pem")
    asked = explain("grpcs://host:1", closed)
    assert asked is not None
    assert "it may want a client's certificate (RANKSRGAN_CLIENT_CERTIFICATE" in asked
