"""Whose a long job is, and what the others may do with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from ranksrgan.contracts.client import Connection
from ranksrgan.contracts.clients.operations import RemoteOperation
from ranksrgan.contracts.errors import (
    Forbidden,
    Overloaded,
    RequestCancelled,
    Unauthenticated,
    UnknownName,
)
from ranksrgan.contracts.operations import trainings
from ranksrgan.contracts.operations.supervisor import JobLimits, Supervisor
from ranksrgan.contracts.rpc import RunningServer, start_server
from ranksrgan.contracts.serving import token_file
from ranksrgan.contracts.serving.settings import ModelServerSettings, ServerSettings, TlsSettings
from ranksrgan.contracts.serving.token_file import hash_token
from tests.contracts.authority import Authority
from tests.contracts.conftest import in_background
from tests.contracts.operations.test_servicer import train
from tests.contracts.trial_server import servicers
from tests.contracts.trials import PATIENCE, Trials

WAITS = {"count": 1, "gate": 0}
TOKENS = {name: f"token of {name}".replace(" ", "-") for name in ("alice", "bob", "carol")}

Start = Callable[..., RunningServer]
Client = Callable[[RunningServer, str | None], Connection]


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path, monkeypatch)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("".join(f"{name} {hash_token(token)}\n" for name, token in TOKENS.items()))
    return file


@pytest.fixture
def start(trials: Trials, request: pytest.FixtureRequest) -> Start:
    """Starts a server of the data root; one at a time."""

    def start_one(limits: JobLimits | None = None, **settings: object) -> RunningServer:
        jobs = trials.supervisor(limits)
        wanted = ServerSettings.model_validate({"listen": "127.0.0.1:0", **settings})
        server = start_server(wanted, servicers(jobs), background=jobs)
        request.addfinalizer(server.stop)
        return server

    return start_one


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    """The connection of somebody with a token."""

    def connect(server: RunningServer, name: str | None) -> Connection:
        monkeypatch.delenv("RANKSRGAN_CLIENT_TOKEN", raising=False)
        if name is not None:
            monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN", TOKENS[name])
        connection = Connection(server.address, timeout=PATIENCE, retry_for=0)
        connection.channel()
        return connection

    return connect


def seen_by(connection: Connection, name: str) -> RemoteOperation:
    stub = operations_pb2_grpc.OperationsStub(connection.channel())
    request = operations_pb2.GetOperationRequest(name=name)
    return RemoteOperation(connection, connection.call(stub.GetOperation, request))


def refused(ending: Callable[[], None], name: str) -> None:
    with pytest.raises(Forbidden) as caught:
        ending()
    assert str(caught.value) == (
        f"{name} is another client's: who has asked for it, or administers the server, may cancel "
        "or delete it"
    )
    assert caught.value.field == "name"


def test_an_operation_is_ended_by_its_client_or_an_administrator(
    start: Start, client: Client, tokens: Path, trials: Trials
) -> None:
    server = start(tokens=tokens, administrators=["carol"])
    name = train(client(server, "alice"), "a", WAITS, "first").name
    bob = client(server, "bob")
    theirs = seen_by(bob, name)
    assert not theirs.done
    assert theirs.wait(0) is False
    refused(theirs.cancel, name)
    # Who repeats another's request comes to the same operation, which is not theirs by that.
    assert train(bob, "a", WAITS, "first").name == name
    refused(seen_by(bob, name).cancel, name)
    server.stop()
    server = start(tokens=tokens, administrators=["carol"])
    theirs = seen_by(client(server, "bob"), name)
    refused(theirs.cancel, name)
    seen_by(client(server, "carol"), name).cancel()
    with pytest.raises(RequestCancelled):
        theirs.result(PATIENCE)
    refused(theirs.delete, name)
    seen_by(client(server, "alice"), name).delete()
    with pytest.raises(UnknownName):
        seen_by(client(server, "carol"), name)


def test_who_has_asked_may_cancel_where_nobody_administers(
    start: Start, client: Client, tokens: Path
) -> None:
    server = start(tokens=tokens)
    operation = train(client(server, "alice"), "a", WAITS)
    refused(seen_by(client(server, "bob"), operation.name).cancel, operation.name)
    operation.cancel()
    with pytest.raises(RequestCancelled):
        operation.result(PATIENCE)


def test_whose_token_is_taken_away_does_not_wait_for_the_end(
    start: Start, client: Client, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "LOOK", 0.0)
    server = start(tokens=tokens)
    alice, bob = client(server, "alice"), client(server, "bob")
    name = train(alice, "a", WAITS).name
    begun, wait = threading.Event(), Supervisor.wait
    monkeypatch.setattr(Supervisor, "wait", lambda *what: begun.set() or wait(*what))
    waiting, outcome = in_background(lambda: seen_by(alice, name).wait(PATIENCE))
    assert begun.wait(PATIENCE)
    tokens.write_text(f"bob {hash_token(TOKENS['bob'])}\n")
    waiting.join(PATIENCE)
    (error,) = outcome
    assert isinstance(error, Unauthenticated)
    assert str(error) == "the token is not known here any more"
    assert not seen_by(bob, name).wait(0.0)


def test_where_nobody_is_known_everybody_ends_everything(
    start: Start, client: Client, tokens: Path
) -> None:
    server = start(tokens=tokens)
    name = train(client(server, "alice"), "a", WAITS).name
    server.stop()
    server = start()
    anybodys = train(client(server, None), "b", WAITS).name
    seen_by(client(server, None), name).cancel()
    server.stop()
    server = start(tokens=tokens)
    seen_by(client(server, "bob"), anybodys).cancel()


def test_a_job_from_before_clients_were_recorded_is_anybodys(
    start: Start, client: Client, tokens: Path, trials: Trials
) -> None:
    server = start(tokens=tokens)
    name = train(client(server, "alice"), "a", WAITS).name
    server.stop()
    file = trials.root.folder / name / "request.json"
    content = json.loads(file.read_text())
    assert content.pop("client") == "alice"
    file.write_text(json.dumps(content))
    server = start(tokens=tokens)
    seen_by(client(server, "bob"), name).cancel()


def test_one_client_leaves_a_part_of_the_queue_to_others(
    start: Start, client: Client, tokens: Path
) -> None:
    limits = JobLimits(running=0, queue=5, each=2)
    server = start(limits, tokens=tokens)
    alice = client(server, "alice")
    first = train(alice, "a", WAITS, "first")
    train(alice, "b", WAITS)
    full = (
        "alice has 2 operations that are not done, and 2 is what one client may have; wait for one "
        "of them or cancel it"
    )
    with pytest.raises(Overloaded) as refused:
        train(alice, "c", WAITS)
    assert str(refused.value) == full
    assert train(alice, "a", WAITS, "first").name == first.name
    assert not train(client(server, "bob"), "d", WAITS).done
    server.stop()
    server = start(limits, tokens=tokens)
    alice = client(server, "alice")
    with pytest.raises(Overloaded, match="alice has 2 operations"):
        train(alice, "c", WAITS)
    theirs = seen_by(alice, first.name)
    theirs.cancel()
    with pytest.raises(RequestCancelled):
        theirs.result(PATIENCE)
    train(alice, "c", WAITS)


def test_where_nobody_is_known_nobody_has_a_share(start: Start, client: Client) -> None:
    anybody = client(start(JobLimits(running=0, queue=3, each=1)), None)
    for name in "abc":
        train(anybody, name, WAITS)
    with pytest.raises(Overloaded, match="3 operations are not done"):
        train(anybody, "d", WAITS)


def test_shares_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[JobLimits] = []
    monkeypatch.setattr(trainings, "Supervisor", lambda *what: made.append(what[-1]))
    monkeypatch.setattr(trainings, "OperationsServicer", Mock())
    monkeypatch.setattr(trainings.rpc, "serve", lambda settings, names, load: 0)
    for chosen, each in (({}, 50), ({"operations": 7}, 7)):
        settings = ModelServerSettings.model_validate(
            {"listen": "127.0.0.1:0", "data_root": tmp_path, "client_limits": chosen}
        )
        assert trainings.serve_and_train(settings, [], Mock(), Mock()) == 0
        assert made.pop() == JobLimits(running=1, each=each)


def test_certificates_tell_clients_apart(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("server", "127.0.0.1")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key, client_ca=authority.certificate)
    server = start(tls=tls, administrators=["carol"])
    monkeypatch.setenv("RANKSRGAN_CLIENT_CA", str(authority.certificate))

    def connect(name: str | None) -> Connection:
        """Of somebody with a certificate; without a common name they go by their other name."""
        mine = authority.sign(str(name), "me@example.org", common_name=name)
        monkeypatch.setenv("RANKSRGAN_CLIENT_CERTIFICATE", str(mine.certificate))
        monkeypatch.setenv("RANKSRGAN_CLIENT_KEY", str(mine.key))
        connection = Connection(f"grpcs://{server.address}", timeout=PATIENCE, retry_for=0)
        connection.channel()
        return connection

    alice = connect("alice")
    operation = train(alice, "a", WAITS)
    for other in ("bob", None):
        refused(seen_by(connect(other), operation.name).cancel, operation.name)
    theirs = train(connect(None), "b", WAITS)
    refused(seen_by(connect("bob"), theirs.name).cancel, theirs.name)
    seen_by(connect(None), theirs.name).cancel()
    seen_by(connect("carol"), operation.name).cancel()
