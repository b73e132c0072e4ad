"""The files of ``deploy/`` agree with the packages and with each other.

Whether they are valid of their kind is the validators' matter (``.ci/deploy_files``); whether the
Dockerfile's steps work, that of ``.ci/container_steps``.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES = {"metrics", "rankdata", "ranker", "srgan"}
#: Seconds that a server gives requests in flight after SIGTERM.
GRACE = 30


@pytest.fixture(scope="module")
def steps() -> Iterator[ModuleType]:
    """``.ci/container_steps`` as a module."""
    loader = SourceFileLoader("container_steps", str(ROOT / ".ci" / "container_steps"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setitem(sys.modules, loader.name, module)  # dataclasses look there
        loader.exec_module(module)
        yield module


def documents(path: Path) -> list[dict[str, Any]]:
    return [part for part in yaml.safe_load_all(path.read_text()) if part]


def objects() -> list[dict[str, Any]]:
    """Everything that the kustomization lists."""
    folder = DEPLOY / "kubernetes"
    (kustomization,) = documents(folder / "kustomization.yaml")
    return [part for name in kustomization["resources"] for part in documents(folder / name)]


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {part["metadata"]["name"]: part for part in objects() if part["kind"] == kind}


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def test_a_dockerfile_is_read(steps: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(
        "# syntax=docker/dockerfile:1\nARG A=1\nFROM x:${A} AS b\n\n"
        "RUN one \\\n    # why\n    && two\n  COPY --from=b --chmod=755 $P $P\n"
    )
    found = [(one.name, one.flags, one.text) for one in steps.read_dockerfile(path)]
    assert found == [
        ("ARG", {}, "A=1"),
        ("FROM", {}, "x:${A} AS b"),
        ("RUN", {}, "one      && two"),
        ("COPY", {"from": "b", "chmod": "755"}, "$P $P"),
    ]
    assert steps.expand("$A/${B}-$C", {"A": "1", "B": "2"}) == "1/2-"
    assert dict(steps.assignments('A="x y" B=$C D', {"C": "3"})) == {"A": "x y", "B": "3", "D": ""}


def test_steps_that_fail_end_the_build(
    steps: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    image = steps.Image(tmp_path, "metrics")
    build = [
        steps.Instruction("FROM", {}, "x"),
        steps.Instruction("ARG", {}, "PREFIX=/opt/ranksrgan"),
        steps.Instruction("ARG", {}, "PACKAGE"),
        steps.Instruction("RUN", {}, "apt-get update"),
        steps.Instruction("RUN", {}, 'mkdir "$PREFIX" && touch "$PREFIX/$PACKAGE"'),
    ]
    image.build(build)
    assert (tmp_path / "prefix" / "metrics").is_file()  # and nothing in /opt
    assert "left out, for an image alone: apt-get update" in capfd.readouterr().out
    with pytest.raises(subprocess.CalledProcessError):
        image.build([*build[:1], steps.Instruction("RUN", {}, "false || exit 3")])
    with pytest.raises(SystemExit, match="ONBUILD"):
        image.build([steps.Instruction("ONBUILD", {}, "RUN true")])


def test_the_image_runs_a_command_of_each_package_as_nobody(steps: ModuleType) -> None:
    found = steps.read_dockerfile(steps.DOCKERFILE)
    last = found[max(i for i, one in enumerate(found) if one.name == "FROM") :]
    settings = {one.name: one.text for one in last}
    assert settings["USER"].partition(":")[0].isdigit()
    assert int(settings["USER"].partition(":")[0]) > 0
    assert not any(one.name == "ADD" for one in found)
    for one in found:
        if one.name == "COPY" and not one.flags:
            assert (ROOT / one.text.split()[0]).exists()
    linked = next(one.text for one in found if one.text.startswith("ln -s"))
    assert '"ranksrgan-$PACKAGE" "$PREFIX/bin/serve-ranksrgan"' in linked
    assert settings["ENTRYPOINT"] == '["serve-ranksrgan", "serve"]'
    assert set(steps.PACKAGES) == SERVICES
    for name in SERVICES:
        project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())
        assert f"ranksrgan-{name}" in project["project"]["scripts"]
    words = yaml.safe_load(settings["HEALTHCHECK"].partition("CMD")[2])
    assert words[:2] == ["python", "-m"]
    assert find_spec(words[2]) is not None
    assert words[3].rpartition(":")[2] == settings["EXPOSE"]


def test_compose_confines_each_service() -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    assert set(compose["services"]) == SERVICES
    for name, service in compose["services"].items():
        assert service["build"]["args"] == {"PACKAGE": name}
        context = DEPLOY / service["build"]["context"]
        assert (context / service["build"]["dockerfile"]).is_file()
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert int(service["stop_grace_period"].removesuffix("s")) > GRACE
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]
        for other in service.get("depends_on", ()):
            assert other in compose["services"]


def test_kubernetes_files_are_all_listed() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert there - set(kustomization["resources"]) == {
        "kustomization.yaml",
        "prometheus-adapter.yaml",
    }
    images = {image["name"] for image in kustomization["images"]}
    assert images == {container(one)["image"] for one in named("Deployment").values()}
    assert images == {f"ranksrgan-{name}" for name in SERVICES}


def test_kubernetes_pods_are_confined_and_looked_after() -> None:
    for name, deployment in named("Deployment").items():
        pod, only = deployment["spec"]["template"]["spec"], container(deployment)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert pod["terminationGracePeriodSeconds"] > GRACE
        assert only["securityContext"]["readOnlyRootFilesystem"] is True
        assert only["securityContext"]["allowPrivilegeEscalation"] is False
        assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        ports = {port["name"]: port["containerPort"] for port in only["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert only[probe]["grpc"]["port"] == ports["grpc"], (name, probe)
        assert set(only["resources"]) == {"requests", "limits"}
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in only["volumeMounts"]} == volumes
        claims = [
            v["persistentVolumeClaim"] for v in pod["volumes"] if "persistentVolumeClaim" in v
        ]
        assert {claim["claimName"] for claim in claims} <= set(named("PersistentVolumeClaim"))
        variables = {variable["name"] for variable in only["env"]}
        alone = deployment["spec"]["strategy"].get("type") == "Recreate"
        # Two supervisors cannot have one data root: such a service is one, also while it changes.
        assert alone == ("RANKSRGAN_DATA_ROOT" in variables)
        assert deployment["spec"].get("replicas", 2) == (1 if alone else 2)


def test_kubernetes_services_find_their_pods_and_scale() -> None:
    deployments = named("Deployment")
    assert set(named("Service")) == set(deployments)
    for name, service in named("Service").items():
        assert service["spec"]["clusterIP"] == "None"  # the client chooses, not a proxy
        labels = deployments[name]["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"] == labels
        assert deployments[name]["spec"]["selector"]["matchLabels"] == labels
    scaled = named("HorizontalPodAutoscaler")
    assert set(scaled) == set(named("PodDisruptionBudget")) == {"metrics", "ranker", "srgan"}
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        (metric,) = scaler["spec"]["metrics"]
        assert metric["pods"]["metric"]["name"] == "ranksrgan_queue_length"
        assert scaler["spec"]["minReplicas"] >= 2
        budget = named("PodDisruptionBudget")[name]
        assert (
            budget["spec"]["selector"]["matchLabels"]
            == (deployments[name]["spec"]["selector"]["matchLabels"])
        )


def unit(path: Path) -> dict[str, dict[str, str]]:
    """Sections of a unit; of a key that is given several times, the last value."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return {name: dict(parser[name]) for name in parser.sections()}


def test_systemd_units_start_a_command_of_each_package() -> None:
    service = unit(DEPLOY / "systemd" / "ranksrgan@.service")["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"] == "/opt/ranksrgan/bin/ranksrgan-%i serve"
    assert service["User"] != "root"
    assert service["ProtectSystem"] == "strict"
    assert int(service["TimeoutStopSec"]) > GRACE
    wanted = unit(DEPLOY / "systemd" / "ranksrgan.target")["Unit"]["Wants"].split()
    assert set(wanted) == {f"ranksrgan@{name}.service" for name in SERVICES}
    assert service["EnvironmentFile"] == "/etc/ranksrgan/%i.env"
    for name in SERVICES:
        lines = (DEPLOY / "systemd" / f"{name}.env").read_text().splitlines()
        assert any(line.startswith("RANKSRGAN_LISTEN=127.0.0.1:") for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "ranksrgan@.service").read_text()
    text = text.replace("/opt/ranksrgan/bin/ranksrgan-%i", "/bin/true")
    for name in SERVICES:
        (tmp_path / f"ranksrgan@{name}.service").write_text(text)
    shutil.copy(DEPLOY / "systemd" / "ranksrgan.target", tmp_path)

    def verify(file: Path) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "verify", "--man=no", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for file in sorted(tmp_path.iterdir()):
        done = verify(file)
        assert done.returncode == 0, done.stderr
        assert str(tmp_path) not in done.stderr  # no word about a file of ours
    wrong = tmp_path / "ranksrgan@wrong.service"
    wrong.write_text(text.replace("ProtectSystem=strict", "ProtectSystm=strict"))
    assert "ProtectSystm" in verify(wrong).stderr
