from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.srgan.cli import main
from ranksrgan.srgan.conversion import interpolate_files
from ranksrgan.srgan.foreign.srgan_leftthomas import LeftThomasSRGAN
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.generators.msrresnet import MSRResNet
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.interpolation import interpolate


def test_the_ends_are_the_two_to_the_bit_and_the_middle_is_their_mean() -> None:
    a, b = RRDBNet(4, 1, 2), RRDBNet(4, 1, 2)
    for alpha, expected in ((0, a), (1, b)):
        for key, value in interpolate(a, b, alpha).items():
            assert torch.equal(value, expected.state_dict()[key])
    middle, fifth = interpolate(a, b, 0.5), interpolate(a, b, 0.8)
    for key, value in a.state_dict().items():
        other = b.state_dict()[key].double()
        assert torch.equal(middle[key], ((value.double() + other) / 2).float())
        torch.testing.assert_close(fifth[key].double(), 0.2 * value.double() + 0.8 * other)
    assert not torch.equal(middle["conv_first.weight"], a.state_dict()["conv_first.weight"])


def test_statistics_are_between_and_counts_are_not() -> None:
    a, b = LeftThomasSRGAN(4), LeftThomasSRGAN(4)
    a.train()(torch.rand(2, 3, 8, 8))
    b.train()(torch.rand(2, 3, 8, 8))
    b(torch.rand(2, 3, 8, 8))
    state = interpolate(a, b, 0.5)
    key = "block2.bn1.running_mean"
    mean = (a.state_dict()[key] + b.state_dict()[key]) / 2
    torch.testing.assert_close(state[key], mean)
    assert int(state["block2.bn1.num_batches_tracked"]) == 1


def test_what_has_nothing_between() -> None:
    a = SRResNet(4, 2)
    with pytest.raises(InvalidInput, match="between a srresnet and a msrresnet"):
        interpolate(a, MSRResNet(4, 2), 0.5)
    with pytest.raises(InvalidInput, match="different size: blocks 2 and 3, scale 4 and 2"):
        interpolate(a, SRResNet(4, 3, 2), 0.5)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="alpha is"):
            interpolate(a, SRResNet(4, 2), alpha)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = SRResNet(4, 2), SRResNet(4, 2)
    save_generator(tmp_path / "a.safetensors", a, {})
    torch.save(b.original_state("official-old"), tmp_path / "b.pth")
    out = tmp_path / "out.safetensors"
    command = ["interpolate", str(tmp_path / "a.safetensors"), str(tmp_path / "b.pth")]
    assert main([*command, "--alpha", ".8", "-o", str(out)]) == 0
    assert "srresnet (features 4, blocks 2, scale 4), 0.8 of the way" in capsys.readouterr().out
    expected = interpolate(a, b, 0.8)
    assert all(torch.equal(v, expected[k]) for k, v in load_generator(out).state_dict().items())
    between = [
        {"name": name, "sha256": load_weights(tmp_path / name).sha256}
        for name in ("a.safetensors", "b.pth")
    ]
    assert load_weights(out).about == {"between": between, "alpha": 0.8}
    assert main([*command, "--alpha", "2", "-o", str(out)]) == 1
    assert "alpha is 2" in capsys.readouterr().err
    assert main([*command, "--alpha", "0.5", "-o", str(tmp_path / "out.pth")]) == 1
    assert "written as .safetensors" in capsys.readouterr().err
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(InvalidInput, match="is a folder: name a file with target"):
        interpolate_files(tmp_path / "a.safetensors", tmp_path / "b.pth", 0.5, folder)


def test_convert_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "a.safetensors", tmp_path / "a.pth"
    save_generator(source, MSRResNet(4, 2, 3), {})
    assert main(["convert", str(source), str(out), "--to", "basicsr"]) == 0
    assert f"{out}: msrresnet (features 4, blocks 2, scale 3)" in capsys.readouterr().out
    assert "conv_hr.weight" in torch.load(out, weights_only=True)["params"]
    assert main(["convert", str(source), str(out), "--to", "official-old"]) == 1
    assert "no original code loads" in capsys.readouterr().err


def test_no_command_replaces_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for path in (a, b):
        save_generator(path, SRResNet(4, 2), {})
    before = a.read_bytes(), b.read_bytes()
    for command, output, option in (
        (["convert", str(a), str(a), "--half"], a, "OUT"),
        (["interpolate", str(a), str(b), "--alpha", ".5", "-o", str(a)], a, "-o"),
        (["interpolate", str(a), str(b), "--alpha", ".5", "-o", str(b)], b, "-o"),
        (["export-onnx", str(a), "-o", str(a)], a, "-o"),
    ):
        assert main(command) == 1
        said = f"{output} is an input and would be replaced: name another file with {option}"
        assert capsys.readouterr().err == f"error: {said}\n"
    assert (a.read_bytes(), b.read_bytes()) == before
