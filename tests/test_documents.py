"""What the documents show can be done as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeGuard

import pytest
import skimage.data
import torch
from PIL import Image

import ranksrgan.pipeline.config
import ranksrgan.pipeline.reproduction.config
import ranksrgan.rankdata.config
import ranksrgan.ranker.config
import ranksrgan.ranker.quality.config
from ranksrgan.contracts import open_scorer, open_upscaler
from ranksrgan.contracts.config import Config
from ranksrgan.contracts.images import read_image, to_tensor
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.contracts.serving.super_resolution import SuperResolutionServicer
from ranksrgan.contracts.yaml_text import parse_keys
from ranksrgan.metrics.catalog import MetricCatalog
from ranksrgan.srgan.catalog import UpscalerCatalog
from ranksrgan.srgan.upscaling.picture import upscale_picture

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("packages/**/*.md"), *ROOT.glob("[bdeprt]*/*.md")]
)


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


def test_every_block_of_yaml_is_yaml() -> None:
    found = [(document, text) for document in DOCUMENTS for text in blocks(document, "yaml")]
    assert len(found) > 5
    for document, text in found:
        assert parse_keys(text, str(document.relative_to(ROOT)))


def test_every_link_leads_somewhere() -> None:
    links = [
        (document, link)
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text())
        if "://" not in link
    ]
    assert len(links) > 30
    missing = [(str(one), link) for one, link in links if not (one.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(
    "module",
    [
        ranksrgan.pipeline.config,
        ranksrgan.pipeline.reproduction.config,
        ranksrgan.rankdata.config,
        ranksrgan.ranker.config,
        ranksrgan.ranker.quality.config,
    ],
    ids=lambda module: module.__name__,
)
def test_every_key_is_explained_in_the_module_that_documents_name(module: ModuleType) -> None:
    naming = " ".join(document.read_text() for document in DOCUMENTS)
    assert module.__name__ in naming
    models = [one for one in vars(module).values() if _is_model_of(one, module)]
    assert models
    silent = [
        f"{model.__name__}.{key}"
        for model in models
        for key in model.model_fields.keys() & model.__annotations__.keys()
        if not re.search(rf"^ +(\w+, )*{key}(, \w+)*: ", model.__doc__ or "", re.MULTILINE)
    ]
    assert not silent


def _is_model_of(thing: object, module: ModuleType) -> TypeGuard[type[Config]]:
    return (
        isinstance(thing, type)
        and issubclass(thing, Config)
        and thing.__module__ == module.__name__
    )


def test_the_first_lines_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.data.astronaut()[100:300, 100:300]).save("photo.png")
    (block,) = blocks(ROOT / "README.md", "python")
    exec(compile(block, "README.md", "exec"), found := {})
    assert read_image(Path("large.png")).colour.shape == (800, 800, 3)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == str(found["niqe"](found["images"]))
    assert shown[1].startswith("tensor([")
    assert torch.isfinite(found["large"]).all()


def test_the_modules_of_contracts_stand_in_its_table() -> None:
    package = ROOT / "packages/contracts"
    rows = re.findall(r"^\| (`.*?) \|", (package / "README.md").read_text(), re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([a-z0-9_]+/?)`", row)}
    missing = {
        module.name for module in iter_modules([str(package / "ranksrgan/contracts")])
    } - named
    assert not missing


def test_what_python_imports_from_ours_is_there() -> None:
    texts = [text for document in DOCUMENTS for text in blocks(document, "python")]
    imports = re.findall(r"^from ranksrgan.*", "\n".join(texts), re.MULTILINE)
    assert len(imports) > 10
    for line in imports:
        exec(line, {})


def test_clients_of_the_protos_alone(tmp_path: Path) -> None:
    """Made as it says there, in a process that has stubs and gRPC, and nothing of ours."""
    document = ROOT / "packages/contracts/README.md"
    (command,) = re.findall(
        r"^    python (-m grpc_tools.*\\\n.*)$", document.read_text(), re.MULTILINE
    )
    (client,) = (block for block in blocks(document, "python") if "ScoreRequest" in block)
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    made = f"{sys.executable} {command.replace('=stubs', f'={stubs}')}"
    subprocess.run(["bash", "-c", made], cwd=ROOT, check=True)
    Image.fromarray(skimage.data.astronaut()[:200, :200]).save(tmp_path / "photo.png")
    image = to_tensor(read_image(tmp_path / "photo.png"))
    upscalers = UpscalerCatalog({"ranksrgan": open_upscaler("bicubic")})
    servicers = [
        ScoringServicer(MetricCatalog()),
        SuperResolutionServicer(upscalers, upscale_picture),
    ]
    server = start_server("127.0.0.1:0", servicers)
    try:
        client = re.sub(r"127\.0\.0\.1:\d+", server.address, client)
        client += "print(image_pb2.__file__)\n"
        found = f"{stubs}:{sysconfig.get_path('purelib')}"
        shown = subprocess.run(
            [sys.executable, "-S", "-c", client],  # without .pth files, which would find ours
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": found},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    finally:
        server.stop()
    assert shown[1] == str(stubs / "ranksrgan/contracts/v1/image_pb2.py")
    assert float(shown[0]) == open_scorer("niqe?border=4").score(image).item()
    assert read_image(tmp_path / "large.png").colour.shape == (800, 800, 3)
