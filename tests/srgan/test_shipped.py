"""The generators that come with the package, and where they stand in for a model of one's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage import data

from ranksrgan.contracts import open_upscaler
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidConfig, InvalidInput, MissingAsset
from ranksrgan.contracts.images import Picture, read_image, to_tensor, write_image
from ranksrgan.contracts.serving.observer import Observers
from ranksrgan.contracts.serving.settings import RepositorySettings
from ranksrgan.contracts.v1 import super_resolution_pb2
from ranksrgan.srgan import cli, load_recipe, server, shipped
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.settings import SrganServerSettings
from ranksrgan.srgan.shipped import SHIPPED
from ranksrgan.srgan.training.state import Training

ROOT = Path(__file__).parents[2]


def test_each_is_small_in_half_precision_and_has_a_card() -> None:
    for name in SHIPPED.names:
        weights = load_weights(SHIPPED.path(name))
        assert weights.options == {"features": 64, "blocks": 16, "scale": 4}
        assert weights.tensors["conv_first.weight"].dtype == torch.float16
        assert SHIPPED.path(name).stat().st_size < 4 * 2**20
        card = SHIPPED.card(name).read_text()
        for heading in ("Training", "Data and its terms", "Figures", "Limits"):
            assert f"\n## {heading}\n" in card
        assert "| BSD100 |" in card
        assert all(place not in card + str(weights.about) for place in ("/work", "/tmp", "/home"))


def test_a_name_opens_it() -> None:
    upscaler = open_upscaler("srresnet?memory=64")
    assert upscaler.info.name == "srresnet"
    assert upscaler.info.scale == 4
    image = torch.rand(1, 3, 12, 10)
    with torch.no_grad():
        wanted = load_generator(SHIPPED.path("srresnet")).eval()(image).clamp(0, 1)
    torch.testing.assert_close(upscaler.upscale(image), wanted, atol=1e-5, rtol=0)


def test_a_training_begins_from_it() -> None:
    wanted = load_generator(SHIPPED.path("srgan"))
    config = load_recipe("srresnet", ["generator.weights=srgan"])
    found = Training.start(config, torch.device("cpu")).generator
    for key, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)


def test_upscale_takes_it_without_a_model(tmp_path: Path) -> None:
    write_image(tmp_path / "cat.png", Picture(data.chelsea()[100:124, 100:130]))
    assert cli.main(["upscale", str(tmp_path / "cat.png"), "-o", str(tmp_path / "big.png")]) == 0
    found = to_tensor(read_image(tmp_path / "big.png"))
    lr = to_tensor(read_image(tmp_path / "cat.png")) / 255
    wanted = (open_upscaler("ranksrgan").upscale(lr) * 255).round().byte()
    assert torch.equal(found, wanted)


def test_the_command_that_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:3] for row in rows] == [[name, "x4", "srresnet"] for name in SHIPPED.names]
    assert all(Path(row[3]).is_file() for row in rows)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[[SrganServerSettings], list[str]]:
    """The names of the models that a server of these settings serves."""

    def ask(settings: SrganServerSettings) -> list[str]:
        found: list[str] = []

        def stand_in(_: object, names: object, load: Callable[..., Any], kind: object) -> int:
            answer = load(Observers())[0].ListModels(super_resolution_pb2.ListModelsRequest(), None)
            found.extend(model.name for model in answer.models)
            return 0

        monkeypatch.setattr(server, "serve_and_train", stand_in)
        settings.check()
        server.serve(settings)
        return found

    return ask


def test_a_server_without_models_serves_them(
    offered: Callable[[SrganServerSettings], list[str]], tmp_path: Path
) -> None:
    assert offered(SrganServerSettings(listen="unix:/x.sock")) == SHIPPED.names
    repository = RepositorySettings(root=tmp_path)
    empty = SrganServerSettings(listen="unix:/x.sock", model_repository=repository)
    assert offered(empty) == SHIPPED.names
    own = tmp_path / "own" / "1" / "model.safetensors"
    save_generator(own, SRResNet(4, 1), {})
    assert offered(empty) == ["own"]
    named = SrganServerSettings(listen="unix:/x.sock", models={"x": own, "y": Path("srgan")})
    assert offered(named) == ["x", "y"]


def test_a_servers_models_have_the_options_of_specs(
    offered: Callable[[SrganServerSettings], list[str]], tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    save_generator(own, SRResNet(4, 1), {})
    models = {"x": Path(f"{own}?tile=64"), "y": Path("srgan?device=cpu&memory=512MiB")}
    settings = SrganServerSettings(listen="unix:/x.sock", models=models)
    settings.check()
    assert offered(settings) == ["x", "y"]
    wrong = SrganServerSettings(listen="unix:/x.sock", models={"x": Path(f"{own}?speed=2")})
    with pytest.raises(InvalidInput, match="no option speed"):
        wrong.check()
    with pytest.raises(InvalidInput, match="no option speed"):
        offered(wrong)
    missing = SrganServerSettings(listen="unix:/x.sock", models={"x": Path("no.pth?tile=64")})
    with pytest.raises(InvalidConfig, match=r"models\.x: there is no file no\.pth"):
        missing.check()


def test_a_package_without_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(type(shipped.SHIPPED), "folder", tmp_path)
    with pytest.raises(MissingAsset, match=r"ranksrgan_niqe_x4\.safetensors is missing"):
        open_upscaler("ranksrgan")
    with pytest.raises(MissingAsset, match="ranksrgan-srgan was installed without"):
        SrganServerSettings(listen="unix:/x.sock").check()


def compare_with_the_cards(data: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "benchmarks.shipped_weights", "--data", str(data), "--check"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_card_says_what_the_default_does_on_set5(shared_data: Path) -> None:
    compare_with_the_cards(shared_data, "--sets", "set5", "--models", "ranksrgan")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_cards_say_what_the_files_do(shared_data: Path) -> None:
    compare_with_the_cards(shared_data)
