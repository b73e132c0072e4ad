"""What the documents show can be done as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image

from ranksrgan.contracts.images import read_image
from ranksrgan.contracts.yaml_text import parse_keys

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
