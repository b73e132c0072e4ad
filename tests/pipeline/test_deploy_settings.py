"""Every variable that ``deploy/`` sets is a setting of the server that gets it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from ranksrgan.contracts.serving import settings
from tests.pipeline.test_deploy_files import DEPLOY, SERVICES, container, documents, named


def check(package: str, variables: Mapping[str, str]) -> None:
    """Have the server's settings made of the variables.

    Raises:
        InvalidConfig: one is none of its settings, or has a wrong value.
    """
    from ranksrgan.rankdata.settings import RankDataServerSettings
    from ranksrgan.ranker.settings import RankerServerSettings
    from ranksrgan.srgan.settings import SrganServerSettings

    kinds = {
        "metrics": settings.ImageServerSettings,
        "rankdata": RankDataServerSettings,
        "ranker": RankerServerSettings,
        "srgan": SrganServerSettings,
    }
    kind = kinds[package]
    for name in variables:
        key = name.removeprefix("RANKSRGAN_").partition("__")[0].lower()
        assert key in kind.model_fields or name == "RANKSRGAN_NATIVE", f"{package}: {name}"
    settings.load_settings(kind, None, variables, {})


def image_variables() -> dict[str, str]:
    text = (DEPLOY / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("ENV PATH=")]
    pairs = (word.partition("=") for word in line.split()[1:])
    return {name: value for name, _, value in pairs if name.startswith("RANKSRGAN_")}


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_systemd(package: str) -> None:
    path: Path = DEPLOY / "systemd" / f"{package}.env"
    for commented in (False, True):  # as it is, and with what an operator may take in
        lines = path.read_text().splitlines()
        if commented:
            lines = [line.removeprefix("#") for line in lines]
        pairs = [line.partition("=") for line in lines if line.startswith("RANKSRGAN_")]
        check(package, {name: yaml.safe_load(value) for name, _, value in pairs})


@pytest.mark.parametrize("package", sorted(SERVICES))
def test_compose(package: str) -> None:
    (compose,) = documents(DEPLOY / "compose.yaml")
    check(package, image_variables() | compose["services"][package]["environment"])


def test_kubernetes() -> None:
    for deployment in named("Deployment").values():
        only = container(deployment)
        given = {variable["name"]: variable["value"] for variable in only["env"]}
        check(only["image"].removeprefix("ranksrgan-"), image_variables() | given)
