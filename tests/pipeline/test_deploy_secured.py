"""``deploy/kubernetes-secured``: what it adds lets in who has a token, and its probes work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ranksrgan.contracts import healthcheck, open_scorer
from ranksrgan.contracts.errors import Unauthenticated
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.settings import ImageServerSettings, load_settings
from ranksrgan.contracts.serving.tokens import main as make_token
from ranksrgan.metrics import MetricCatalog
from tests.contracts.authority import Authority
from tests.pipeline.test_deploy_files import DEPLOY, container, documents, named

OVERLAY = DEPLOY / "kubernetes-secured"
#: Where the overlay mounts its Secrets.
MOUNT = "/etc/ranksrgan"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
CONTAINER = "/spec/template/spec/containers/0/"


def changes() -> list[dict[str, Any]]:
    """The operations of the overlay's patch."""
    (kustomization,) = documents(OVERLAY / "kustomization.yaml")
    (patch,) = kustomization["patches"]
    assert patch["target"] == {"kind": "Deployment"}
    found: list[dict[str, Any]] = yaml.safe_load(patch["patch"])
    return found


def variables() -> dict[str, str]:
    return {
        one["value"]["name"]: one["value"]["value"]
        for one in changes()
        if one["path"] == f"{CONTAINER}env/-"
    }


def probe(name: str) -> list[str]:
    """The arguments of a probe's health check."""
    (one,) = [one for one in changes() if one["path"] == CONTAINER + name]
    command: list[str] = one["value"]["exec"]["command"]
    assert command[:3] == ["python", "-m", "ranksrgan.contracts.healthcheck"]
    return command[3:]


def test_what_it_changes_is_there() -> None:
    (kustomization,) = documents(OVERLAY / "kustomization.yaml")
    assert [(OVERLAY / name).resolve() for name in kustomization["resources"]] == [
        DEPLOY / "kubernetes"
    ]
    (mount,) = [one["value"] for one in changes() if one["path"] == f"{CONTAINER}volumeMounts/-"]
    (volume,) = [
        one["value"] for one in changes() if one["path"] == "/spec/template/spec/volumes/-"
    ]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], MOUNT)
    assert all(value.startswith(f"{MOUNT}/") for value in variables().values())
    for deployment in named("Deployment").values():
        only = container(deployment)
        assert only["env"]
        assert volume["name"] not in {mount["name"] for mount in only["volumeMounts"]}
        for name in PROBES:
            port = only[name]["grpc"]["port"]
            assert probe(name)[0] == f"grpcs://127.0.0.1:{port}"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not here")
def test_kustomize_puts_it_together() -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(OVERLAY)], capture_output=True, text=True, check=True
    )
    found = [one for one in yaml.safe_load_all(done.stdout) if one["kind"] == "Deployment"]
    assert {one["metadata"]["name"] for one in found} == set(named("Deployment"))
    for deployment in found:
        only = container(deployment)
        given = {variable["name"]: variable["value"] for variable in only["env"]}
        assert variables().items() <= given.items()
        for name in PROBES:
            assert only[name]["exec"]["command"][3:] == probe(name)
            assert "grpc" not in only[name]


def test_a_server_with_its_variables_is_healthy_and_wants_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("server", "*.ranksrgan.svc.cluster.local", "localhost")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for source, name in (
        (pair.certificate, "tls.crt"),
        (pair.key, "tls.key"),
        (authority.certificate, "ca.crt"),
    ):
        shutil.copy(source, secrets / name)
    assert make_token(["services", "--file", str(secrets / "tokens")]) == 0
    (secrets / "token").write_text(capsys.readouterr().out.split()[-1])
    given = {name: value.replace(MOUNT, str(secrets)) for name, value in variables().items()}
    settings = load_settings(ImageServerSettings, None, given, {"listen": "127.0.0.1:0"})
    settings.check()
    server = start_server(settings, [ScoringServicer(MetricCatalog())])
    try:
        monkeypatch.setenv("RANKSRGAN_CLIENT_CA", given["RANKSRGAN_CLIENT_CA"])
        for name in PROBES:
            asked = [f"grpcs://{server.address}", *probe(name)[1:]]
            assert healthcheck.main([*asked, "--verbose"]) == 0, capsys.readouterr().err
        monkeypatch.setenv("RANKSRGAN_CLIENT_SERVER_NAME", "metrics.ranksrgan.svc.cluster.local")
        spec = f"grpcs://{server.address}/niqe"
        with pytest.raises(Unauthenticated):
            open_scorer(spec)
        token = given["RANKSRGAN_CLIENT_TOKEN_FILE"]
        monkeypatch.setenv("RANKSRGAN_CLIENT_TOKEN_FILE", token)
        images = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(1))
        assert torch.equal(open_scorer(spec).score(images), open_scorer("niqe").score(images))
    finally:
        server.stop()
