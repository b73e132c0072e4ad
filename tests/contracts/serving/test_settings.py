"""Settings from a file, the environment and flags; what is wrong with them is found at once."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from ranksrgan.contracts import assets
from ranksrgan.contracts.config import make_config
from ranksrgan.contracts.config_problems import keys_of
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput
from ranksrgan.contracts.operations.job_process import LOCK_HANDLE
from ranksrgan.contracts.serving.addresses import is_local
from ranksrgan.contracts.serving.client_credentials import ClientCredentials
from ranksrgan.contracts.serving.client_limits import ClientLimits
from ranksrgan.contracts.serving.settings import (
    ImageServerSettings,
    ModelServerSettings,
    RepositorySettings,
    ServerSettings,
    TlsSettings,
    load_settings,
    require_weights,
)
from ranksrgan.contracts.serving.variables import OTHERS, require_unlike_settings, variable
from ranksrgan.metrics import cli, native_library, server
from ranksrgan.rankdata.settings import RankDataServerSettings
from ranksrgan.ranker.settings import RankerServerSettings
from ranksrgan.srgan.settings import SrganServerSettings
from tests.contracts.authority import Authority


def load(
    file: str | None = None,
    environment: dict[str, str] | None = None,
    folder: Path = Path(),
    **flags: object,
) -> ImageServerSettings:
    path = None
    if file is not None:
        path = folder / "server.yaml"
        path.write_text(file, encoding="utf-8")
    return load_settings(ImageServerSettings, path, environment or {}, flags)


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = """
    listen: unix:file.sock
    workers: 1
    queue: 1
    grace: 1.5
    tls: {certificate: file.pem, key: file.key}
    client_limits: {at_a_time: 1, per_minute: 10}
    """
    environment = {
        "RANKSRGAN_WORKERS": "2",
        "RANKSRGAN_QUEUE": "2",
        "RANKSRGAN_TLS__CERTIFICATE": "environment.pem",
        "RANKSRGAN_CLIENT_LIMITS__PER_MINUTE": "20",
        "RANKSRGAN_REFLECTION": "false",
        "RANKSRGAN_METRICS": "",  # as compose files pass what is not set
        "RANKSRGAN_ASSETS": "/somewhere",
        "WORKERS": "99",
    }
    flags = {"workers": 3, "tls.client_ca": Path("flag.pem")}
    assert load(file, environment, tmp_path, **flags) == ImageServerSettings(
        listen="unix:file.sock",
        workers=3,
        queue=2,
        grace=1.5,
        tls=TlsSettings(
            certificate=Path("environment.pem"), key=Path("file.key"), client_ca=Path("flag.pem")
        ),
        client_limits=ClientLimits(at_a_time=1, per_minute=20),
        reflection=False,
    )


def test_a_variable_may_hold_a_section() -> None:
    environment = {
        "RANKSRGAN_LISTEN": "[::1]:50051",
        "RANKSRGAN_TLS": "{certificate: c.pem, key: c.key}",
    }
    environment["RANKSRGAN_ADMINISTRATORS"] = "[alice, bob]"
    settings = load(None, environment)
    assert settings.listen == "[::1]:50051"
    assert settings.administrators == ("alice", "bob")
    assert settings.tls == TlsSettings(certificate=Path("c.pem"), key=Path("c.key"))


@pytest.mark.parametrize(
    ("file", "environment", "flags", "field", "message"),
    [
        ("workers: x", {}, {}, "workers", r"server\.yaml: workers: Input should be a valid int"),
        ("wokers: 1", {}, {}, "wokers", r"server\.yaml: wokers: unknown key; did you mean workers"),
        ("tls: {key: k}", {}, {}, "tls.certificate", r"server\.yaml: tls\.certificate: Field req"),
        (
            "workers: 1",
            {"RANKSRGAN_WORKERS": "0"},
            {},
            "workers",
            "RANKSRGAN_WORKERS: workers: Input should be greater than or equal to 1",
        ),
        (
            None,
            {"RANKSRGAN_TOKEN": "t"},
            {},
            "RANKSRGAN_TOKEN",
            "RANKSRGAN_TOKEN: unknown setting; did you mean RANKSRGAN_TOKENS",
        ),
        (
            None,
            {"RANKSRGAN_TLS__CERT": "t"},
            {},
            "tls.key",
            "RANKSRGAN_TLS__CERT: .*tls.cert: unkn",
        ),
        (
            None,
            {"RANKSRGAN_TLS": "{key: a, key: b}"},
            {},
            "key",
            "RANKSRGAN_TLS: key is given twice, in line 1",
        ),
        ("workers: 1\nworkers: 2", {}, {}, "workers", r"server\.yaml: workers is given twice, in"),
        (None, {"RANKSRGAN_TLS": "{a"}, {}, "RANKSRGAN_TLS", "RANKSRGAN_TLS is not YAML"),
        (
            None,
            {},
            {"metrics": "9090"},
            "metrics",
            "--metrics: metrics: .*'9090' is not of",
        ),
        (None, {}, {"listen": "unix:"}, "listen", "--listen: listen: .*a path is missing"),
        (
            None,
            {"RANKSRGAN_ADMINISTRATORS": "[a"},
            {},
            "administrators",
            "RANKSRGAN_ADMINISTRATORS: ",
        ),
        (
            None,
            {},
            {"listen": ":::65536"},
            "listen",
            "--listen: .*a port is at most 65535: listen on",
        ),
        (None, {}, {"metrics": "a:99999"}, "metrics", "--metrics: .*a port is at most 65535"),
        (None, {"RANKSRGAN_QUEUE": "99999999999"}, {}, "queue", "RANKSRGAN_QUEUE: .*than or equal"),
        (
            None,
            {"RANKSRGAN_MAX_MESSAGE_MIB": "2048"},
            {},
            "max_message_mib",
            "RANKSRGAN_MAX_MESSAGE_MIB: .*less than or equal to 2047",
        ),
        (None, {}, {"listen": "8080"}, "listen", r"--listen: .*listen on HOST:PORT or unix:PATH"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path,
    file: str | None,
    environment: dict[str, str],
    flags: dict[str, object],
    field: str,
    message: str,
) -> None:
    with pytest.raises(InvalidConfig, match=message) as caught:
        load(file, environment, tmp_path, **{"listen": "unix:s", **flags})
    assert caught.value.field in (field, "tls.certificate")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RANKSRGAN_TLS_CLIENT_CA", "RANKSRGAN_TLS__CLIENT_CA"),
        ("RANKSRGAN_TLS_CERTIFICATE", "RANKSRGAN_TLS__CERTIFICATE"),
        ("RANKSRGAN_TLS_KEY", "RANKSRGAN_TLS__KEY"),
        ("RANKSRGAN_TLS_CERT", "RANKSRGAN_TLS__CERTIFICATE"),
        ("RANKSRGAN_TOKENS_FILE", "RANKSRGAN_TOKENS"),
        ("RANKSRGAN_CLIENT_LIMITS_AT_A_TIME", "RANKSRGAN_CLIENT_LIMITS__AT_A_TIME"),
        ("RANKSRGAN_CLIENTCA", "RANKSRGAN_CLIENT_CA or RANKSRGAN_TLS__CLIENT_CA"),
        ("RANKSRGAN_CLIENT__TOKEN", "RANKSRGAN_CLIENT_TOKEN"),
        ("RANKSRGAN_CLIENT_CERT", "RANKSRGAN_CLIENT_CERTIFICATE"),
        ("RANKSRGAN_TOKENS_IN_CLEER", "RANKSRGAN_TOKENS_IN_CLEAR"),
        ("RANKSRGAN_TLS_CA", "RANKSRGAN_TLS__CLIENT_CA"),
        ("RANKSRGAN_CERTIFICATE", "RANKSRGAN_TLS__CERTIFICATE"),
        ("RANKSRGAN_ADMINISTRATOR", "RANKSRGAN_ADMINISTRATORS"),
        ("RANKSRGAN_CLIENT_LIMITS_RATE", "RANKSRGAN_CLIENT_LIMITS"),
        ("RANKSRGAN_MAXPIXELS", "RANKSRGAN_MAX_PIXELS"),
        ("ranksrgan_tokens", "RANKSRGAN_TOKENS"),
        ("Ranksrgan_TLS__KEY", "RANKSRGAN_TLS__KEY"),
    ],
)
def test_a_variable_that_is_nearly_a_known_one_is_an_error(name: str, meant: str) -> None:
    message = f"^{name}: unknown setting; did you mean {meant}\\?$"
    with pytest.raises(InvalidConfig, match=message) as caught:
        load(None, {"RANKSRGAN_LISTEN": "unix:s", name: "9100"})
    assert caught.value.field == name
    load(None, {"RANKSRGAN_LISTEN": "unix:s", name: ""})


#: Variables of operators, which set nothing here and leave nothing open.
OPERATORS = [
    f"RANKSRGAN_{name}"
    for name in (
        *("METRICS_PORT", "METRICS_IMAGE", "WORKERS_COUNT", "QUEUE_URL", "TEST_DATA_DIR"),
        *("TLS_SECRET_NAME", "TLS_SECRET", "CLIENT_TIMEOUT", "CLIENT_IMAGE", "CLIENT_CACHE"),
        *("CLIENT_NAME", "CLIENT", "VERSION", "ASSETS_DIR", "LISTEN_PORT", "DATA_ROOT_PVC"),
    )
]


def test_variables_of_others_are_passed_over() -> None:
    kinds = (
        ServerSettings,
        ImageServerSettings,
        RankerServerSettings,
        SrganServerSettings,
        RankDataServerSettings,
    )
    client = {f"RANKSRGAN_CLIENT_{one.name.upper()}" for one in fields(ClientCredentials)}
    assert {*client, assets.VARIABLE, native_library.VARIABLE, LOCK_HANDLE} <= set(OTHERS)
    for kind in kinds:
        require_unlike_settings(kind, "RANKSRGAN_METRICS_SERVICE_PORT_GRPC", "50051")
        require_unlike_settings(kind, "RANKSRGAN_METRICS_PORT_50051_TCP_ADDR", "10.0.0.7")
        require_unlike_settings(kind, "RANKSRGAN_METRICS_PORT", "tcp://10.0.0.7:50051")
        for other in (*OTHERS, *OPERATORS):
            require_unlike_settings(kind, other, "x")
        for other_kind in kinds:  # one file of variables for several servers
            for key in keys_of(other_kind):
                if key.partition(".")[0] not in kind.model_fields:
                    require_unlike_settings(kind, variable(key), "x")


def test_somewhere_to_listen_is_wanted() -> None:
    with pytest.raises(InvalidConfig, match=r"give --listen, RANKSRGAN_LISTEN or a key of a --con"):
        load()


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("unix:/s.sock", True),
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("gpu:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(listen: str, local: bool) -> None:
    assert is_local(listen) is local


@pytest.mark.parametrize(
    ("listen", "metrics", "same"),
    [
        ("127.0.0.1:9", "0.0.0.0:9", True),
        ("0.0.0.0:9", "localhost:9", True),
        ("localhost:9", "127.0.0.1:9", True),
        ("localhost:9", "[::1]:09", True),
        ("[::]:9", "10.0.0.1:9", True),
        ("0.0.0.0:9", "[::]:9", True),
        ("[0:0::1]:9", "[::1]:9", True),
        ("GPU:9", "gpu:9", True),
        ("gpu:9", "0.0.0.0:9", True),
        ("127.0.0.1:9", "0.0.0.0:10", False),
        ("0.0.0.0:9", "[::1]:9", False),
        ("127.0.0.1:9", "127.0.0.2:9", False),
        ("127.0.0.1:0", "0.0.0.0:0", False),
        ("unix:/s:9", "0.0.0.0:9", False),
    ],
)
def test_metrics_need_a_port_of_their_own(listen: str, metrics: str, same: bool) -> None:
    settings = ServerSettings(listen=listen, metrics=metrics)
    if not same:
        settings.check()
        return
    with pytest.raises(InvalidConfig, match="metrics: the server itself listens at") as caught:
        settings.check()
    assert caught.value.field == "metrics"


def test_tokens_do_not_cross_the_network_in_clear(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me {'0' * 64}\n")
    ServerSettings(listen="127.0.0.1:0", tokens=tokens).check()
    with pytest.raises(InvalidConfig, match="tokens would cross the network in clear"):
        ServerSettings(listen="0.0.0.0:1", tokens=tokens).check()
    ServerSettings(listen="0.0.0.0:1", tokens=tokens, tokens_in_clear=True).check()
    pair = Authority(tmp_path / "tls").sign("server", "localhost")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)
    ServerSettings(listen="0.0.0.0:1", tokens=tokens, tls=tls).check()
    with pytest.raises(InvalidConfig, match="a unix socket needs no encryption"):
        ServerSettings(listen="unix:s", tls=tls).check()


def test_administrators_need_a_way_to_be_known(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.sign("server", "localhost")
    tls = TlsSettings(certificate=pair.certificate, key=pair.key)
    for nobody in (None, tls):
        with pytest.raises(InvalidConfig, match=r"nobody is one: set tokens or tls\.client_ca"):
            ServerSettings(listen="a:0", tls=nobody, administrators=("me",)).check()
    tls = tls.model_copy(update={"client_ca": authority.certificate})
    ServerSettings(listen="a:0", tls=tls, administrators=("me",)).check()
    tokens = tmp_path / "tokens"
    tokens.write_text(f"me {'0' * 64}\n")
    ServerSettings(listen="unix:s", tokens=tokens, administrators=("me",)).check()


def test_folders_and_weights_have_to_be_there(tmp_path: Path) -> None:
    here = tmp_path / "a.safetensors"
    here.touch()
    require_weights({"a": Path(f"{here}?head=ma")}, "rankers")
    require_weights({"a": "grpc://gpu:1/x.pth", "b": "niqe", "c": f"{here}"}, "rankers")
    with pytest.raises(InvalidConfig, match=r"rankers\.b: there is no file .*b\.pth") as caught:
        require_weights({"b": str(tmp_path / "b.pth?head=ma")}, "rankers")
    assert caught.value.field == "rankers.b"
    with pytest.raises(InvalidConfig, match=r"models\.x: there is no file x"):
        require_weights({"x": Path("x")}, "models")
    with pytest.raises(
        InvalidConfig, match=r"rankers\.r: grpc://unix:/s/r: write grpc://HOST:PORT"
    ):
        require_weights({"r": "grpc://unix:/s/r"}, "rankers")
    settings = ModelServerSettings(
        listen="unix:s", model_repository=RepositorySettings(root=tmp_path / "none")
    )
    with pytest.raises(InvalidConfig, match=r"model_repository: .*none is no folder"):
        settings.check()
    for root, why in (
        (tmp_path / "none", "none is no folder to keep data in: No such file"),
        (here, r"safetensors is no folder to keep data in$"),
        (Path("/"), "/ is no folder to keep data in$"),
        (Path("/sys"), "/sys keeps no data: (Operation not perm|Permission den|Read-only file)"),
    ):
        with pytest.raises(InvalidInput, match=why) as wrong:
            ModelServerSettings(listen="unix:s", data_root=root).check()
        assert wrong.value.field == "data_root"
    with pytest.raises(InvalidInput, match="none takes no temporary files") as unwritable:
        ImageServerSettings(listen="unix:s", spool=tmp_path / "none").check()
    assert unwritable.value.field == "spool"


def test_what_would_not_start_is_told_beforehand() -> None:
    for repository in ({"poll": 5}, {"manage": True}):
        with pytest.raises(InvalidConfig, match="--model-repository-root ROOT"):
            make_config(
                ModelServerSettings, {"listen": "unix:s", "model_repository": repository}, "file"
            )
    with pytest.raises(InvalidConfig, match=r"the server itself listens at 127\.0\.0\.1:9"):
        ServerSettings(listen="127.0.0.1:9", metrics="127.0.0.1:9").check()
    ServerSettings(listen="127.0.0.1:0", metrics="127.0.0.1:0").check()
    with pytest.raises(InvalidConfig, match=r"batch_wait: .*less than or equal to 60"):
        make_config(ImageServerSettings, {"listen": "unix:s", "batch_wait": 1e300}, "file")


def test_check_config_prints_what_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "serve", lambda settings: pytest.fail("it served"))
    monkeypatch.setenv("RANKSRGAN_QUEUE", "7")
    file = tmp_path / "server.yaml"
    file.write_text("listen: unix:s.sock\nqueue: 1\nworkers: 1\n")
    assert cli.main(["serve", "--config", str(file), "--workers", "3", "--check-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == {
        **ImageServerSettings(listen="unix:s.sock").model_dump(mode="json"),
        "queue": 7,
        "workers": 3,
    }


@pytest.mark.parametrize("check", [["--check-config"], []])
def test_a_wrong_configuration_exits_with_2(
    tmp_path: Path,
    check: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server, "serve", lambda settings: pytest.fail("it served"))
    file = tmp_path / "server.yaml"
    file.write_text("listen: unix:s.sock\nworkres: 1\n")
    assert cli.main(["serve", "--config", str(file), *check]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {file}: workres: unknown key; did you mean workers?\n"


def test_check_config_looks_at_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = Authority(tmp_path).sign("server", "localhost", days=-1)
    flags = ["--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key)]
    assert cli.main(["serve", "--listen", "127.0.0.1:0", *flags, "--check-config"]) == 2
    assert f"in {pair.certificate} expired on " in capsys.readouterr().err
    missing = ["--tokens", str(tmp_path / "none")]
    assert cli.main(["serve", "--listen", "127.0.0.1:0", *missing, "--check-config"]) == 2
    assert f"tokens: {tmp_path}/none: {os.strerror(2)}" in capsys.readouterr().err
