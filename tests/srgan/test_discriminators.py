from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ranksrgan.contracts.checkpoint import save_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.srgan.config import GeneratorConfig
from ranksrgan.srgan.discriminators import (
    DISCRIMINATORS,
    Discriminator,
    PatchDiscriminator,
    UNetDiscriminator,
    VGG128Discriminator,
    VGG296Discriminator,
    VGGDiscriminator,
    load_discriminator,
    save_discriminator,
)
from ranksrgan.srgan.generators.architectures import load_generator, save_generator
from ranksrgan.srgan.training.train import train


def test_parameters_are_the_published_ones_with_a_pooled_head() -> None:
    network = VGGDiscriminator()
    fixed_head, pooled_head = 512 * 9 * 9 * 100, 512 * 100
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 17_827_401 - fixed_head + pooled_head
    state = network.state_dict()
    assert len(state) == 60
    biased = {key.rpartition(".")[0] for key in state if key.startswith("conv") and "bias" in key}
    assert biased == {"conv0_0"}
    assert state["linear1.weight"].shape == (100, 512)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (100, 296)])
def test_any_crop_size_and_shape(size: tuple[int, int]) -> None:
    assert VGGDiscriminator(2)(torch.rand(3, 3, *size)).shape == (3, 1)


def test_the_whole_crop_counts() -> None:
    network = VGGDiscriminator(2).eval()
    image = torch.rand(1, 3, 64, 160, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(image).sum(), image)
    assert (gradient.abs().sum(dim=(0, 1)) > 0).float().mean() > 0.99


def test_the_forward_pass_layer_by_layer() -> None:
    network = VGGDiscriminator(2)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.rand(4, 3, 64, 64)
    found = network(x)
    for stage in range(5):
        for j in range(2):
            name = f"{stage}_{j}"
            bias = state.get(f"conv{name}.bias")
            x = F.conv2d(x, state[f"conv{name}.weight"], bias, stride=j + 1, padding=1)
            if name != "0_0":
                mean = x.mean((0, 2, 3), keepdim=True)
                x = (x - mean) / (x.var((0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
                x = x * state[f"bn{name}.weight"].view(1, -1, 1, 1)
                x = x + state[f"bn{name}.bias"].view(1, -1, 1, 1)
            x = torch.where(x > 0, x, 0.2 * x)
    x = F.linear(x.mean((2, 3)), state["linear1.weight"], state["linear1.bias"])
    x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(
        found, F.linear(x, state["linear2.weight"], state["linear2.bias"]), rtol=1e-4, atol=1e-5
    )


def test_too_small_a_crop_is_refused() -> None:
    with pytest.raises(InvalidInput, match="32 pixels or more, not 64 x 31"):
        VGGDiscriminator(2)(torch.rand(2, 3, 31, 64))
    with pytest.raises(InvalidInput, match="width is 0"):
        VGGDiscriminator(0)


def test_round_trip_and_refusal(tmp_path: Path, lively) -> None:
    network = VGGDiscriminator(3)
    network(torch.rand(2, 3, 64, 64))  # moves the running statistics
    save_discriminator(tmp_path / "d.safetensors", network, {"step": 1})
    loaded = load_discriminator(tmp_path / "d.safetensors")
    assert loaded.options == {"width": 3}
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    save_generator(tmp_path / "g.safetensors", lively(), {})
    with pytest.raises(InvalidCheckpoint, match="holds a generator; a discriminator is wanted"):
        load_discriminator(tmp_path / "g.safetensors")


def count(network: Discriminator) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_published_sizes() -> None:
    assert count(VGG128Discriminator()) == 14_499_401
    assert count(VGG296Discriminator()) == 17_827_401
    assert count(UNetDiscriminator()) == 4_376_897  # Real-ESRGAN's log
    assert count(PatchDiscriminator()) == 2_765_633
    # pix2pix's log says 2.769 M for pairs of images; another image has 64 x 3 x 4 x 4 weights more.
    assert count(PatchDiscriminator()) + 64 * 3 * 16 == 2_768_705


def test_the_table_and_the_classes_agree_on_the_names() -> None:
    assert {cls.architecture: cls for cls in DISCRIMINATORS.values()} == DISCRIMINATORS


@pytest.mark.parametrize(("cls", "side"), [(VGG128Discriminator, 128), (VGG296Discriminator, 296)])
def test_the_published_heads_flatten_channels_rows_columns(
    cls: type[VGGDiscriminator], side: int
) -> None:
    network = cls(1).eval()
    pooled = VGGDiscriminator(1).eval()
    grid = {128: 4, 296: 9}[side]
    shared = network.state_dict()
    # A head that weighs every place alike is a mean.
    weight = torch.randn(100, 8)
    shared["linear1.weight"] = weight
    pooled.load_state_dict(shared)
    same = weight[:, :, None].expand(-1, -1, grid**2).reshape(100, -1) / grid**2
    network.linear1.weight.data.copy_(same)
    x = torch.rand(2, 3, side, side)
    assert network(x).shape == (2, 1)
    torch.testing.assert_close(network(x), pooled(x), rtol=1e-4, atol=1e-6)
    # And one that looks at a single place sees the last rows and columns there.
    network.linear1.weight.data.zero_()[:, grid**2 - 1] = 1
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert gradient[..., side // 2 :, side // 2 :].any()
    assert not gradient[..., : side // 8, : side // 8].any()


@pytest.mark.parametrize(
    ("architecture", "good", "bad"),
    [
        ("vgg", [32, 33, 500], [31]),
        ("vgg_128", [128, 159], [127, 160, 296]),
        ("vgg_296", [288, 296, 319], [287, 320, 128]),
        ("patch", [24, 25, 71], [23]),
        ("unet", [8, 16, 64], [4, 12, 66]),
    ],
)
def test_which_crops_each_takes(architecture: str, good: list[int], bad: list[int]) -> None:
    network = DISCRIMINATORS[architecture](1)
    for side in good:
        network(torch.rand(2, 3, side, side))
    for side in bad:
        with pytest.raises(InvalidInput, match=f"{architecture} takes crops") as refused:
            network(torch.rand(2, 3, side, good[0]))
        assert refused.value.field == "crop"


def test_every_width_has_to_be_positive() -> None:
    for cls in DISCRIMINATORS.values():
        with pytest.raises(InvalidInput, match="width is 0"):
            cls(0)


def test_a_patch_is_70_pixels() -> None:
    network = PatchDiscriminator(2).eval().double()
    x = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = network(x)
    assert logits.shape == (1, 1, 160 // 8 - 2, 160 // 8 - 2)
    (gradient,) = torch.autograd.grad(logits[0, 0, 9, 9], x)
    rows = (gradient != 0).any(dim=(0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70


def test_the_patch_discriminator_layer_by_layer() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(3).double()
    network(torch.rand(4, 3, 40, 40, dtype=torch.float64))  # moves the running statistics
    network.eval()
    state = network.state_dict()
    x = y = torch.rand(2, 3, 33, 50, dtype=torch.float64)
    for index, stride, norm in ((0, 2, None), (2, 2, 3), (5, 2, 6), (8, 1, 9), (11, 1, None)):
        bias = state.get(f"model.{index}.bias")
        y = F.conv2d(y, state[f"model.{index}.weight"], bias, stride=stride, padding=1)
        if norm is not None:
            mean, var = state[f"model.{norm}.running_mean"], state[f"model.{norm}.running_var"]
            y = (y - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt()
            y = y * state[f"model.{norm}.weight"].view(1, -1, 1, 1)
            y = y + state[f"model.{norm}.bias"].view(1, -1, 1, 1)
        if index < 11:
            y = torch.where(y > 0, y, 0.2 * y)
    torch.testing.assert_close(network(x), y, rtol=1e-10, atol=1e-10)


def test_the_unet_layer_by_layer() -> None:
    torch.manual_seed(0)
    network = UNetDiscriminator(2).double()
    for _ in range(50):  # the power iteration settles
        network(torch.rand(1, 3, 8, 8, dtype=torch.float64))
    network.eval()
    state = network.state_dict()

    def conv(number: int, x: Tensor) -> Tensor:
        if number in {0, 9}:
            weight, bias = state[f"conv{number}.weight"], state[f"conv{number}.bias"]
        else:
            weight, bias = state[f"conv{number}.weight_orig"], None
            weight = weight / torch.linalg.matrix_norm(weight.flatten(1), 2)
        y = F.conv2d(
            x, weight, bias, stride=weight.shape[2] - 2 if weight.shape[2] == 4 else 1, padding=1
        )
        return y if number == 9 else torch.where(y > 0, y, 0.2 * y)

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, size=[2 * side for side in x.shape[2:]], mode="bilinear")

    x = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    x0 = conv(0, x)
    x1 = conv(1, x0)
    x2 = conv(2, x1)
    y = conv(4, double(conv(3, x2))) + x2
    y = conv(5, double(y)) + x1
    y = conv(6, double(y)) + x0
    expected = conv(9, conv(8, conv(7, y)))
    assert expected.shape == (2, 1, 16, 24)
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


def test_the_unets_keys_are_those_of_basicsr() -> None:
    normal = [f"conv{i}.{part}" for i in (0, 9) for part in ("weight", "bias")]
    spectral = [f"conv{i}.weight_{part}" for i in range(1, 9) for part in ("orig", "u", "v")]
    assert set(UNetDiscriminator().state_dict()) == {*normal, *spectral}


@pytest.mark.parametrize("architecture", DISCRIMINATORS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_every_one_returns_from_files(architecture: str, suffix: str, tmp_path: Path) -> None:
    network = DISCRIMINATORS[architecture](2)
    side = {"vgg_128": 128, "vgg_296": 296}.get(architecture, 32)
    network(torch.rand(2, 3, side, side))  # moves the running statistics
    path = tmp_path / f"d{suffix}"
    if suffix == ".pth":
        torch.save({"params": {f"module.{k}": v for k, v in network.state_dict().items()}}, path)
    else:
        save_discriminator(path, network, {"step": 1})
    loaded = load_discriminator(path)
    assert type(loaded) is type(network)
    assert loaded.options == {"width": 2}
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_a_file_of_the_time_of_one_discriminator_loads(tmp_path: Path) -> None:
    network = VGGDiscriminator(2)
    save_weights(
        tmp_path / "d.safetensors",
        network.state_dict(),
        kind="discriminator",
        architecture="vgg_discriminator",
        options={"width": 2},
    )
    assert load_discriminator(tmp_path / "d.safetensors").options == {"width": 2}


def test_the_first_generation_with_biases_everywhere(tmp_path: Path) -> None:
    """Its names are numbers and all ten convolutions have biases; the logits are the same."""
    torch.manual_seed(0)
    network = VGG296Discriminator(1)
    network(torch.rand(3, 3, 296, 296))
    network.eval()
    names = [f"{stage}_{j}" for stage in range(5) for j in (0, 1)]
    numbers = {"0_0": 0, "0_1": 2, "1_0": 5, "1_1": 8, "2_0": 11, "2_1": 14}
    numbers |= {"3_0": 17, "3_1": 20, "4_0": 23, "4_1": 26}
    state = network.state_dict()
    old = {
        "classifier.0.weight": state["linear1.weight"],
        "classifier.0.bias": state["linear1.bias"],
        "classifier.2.weight": state["linear2.weight"],
        "classifier.2.bias": state["linear2.bias"],
        "features.0.weight": state["conv0_0.weight"],
        "features.0.bias": state["conv0_0.bias"],
    }
    for name in names[1:]:
        number = numbers[name]
        bias = torch.randn(state[f"conv{name}.weight"].shape[0])
        old[f"features.{number}.weight"] = state[f"conv{name}.weight"]
        old[f"features.{number}.bias"] = bias
        for part in ("weight", "bias", "running_mean", "running_var"):
            value = state[f"bn{name}.{part}"]
            old[f"features.{number + 1}.{part}"] = value + bias if part == "running_mean" else value
    torch.save(old, tmp_path / "old.pth")
    loaded = load_discriminator(tmp_path / "old.pth").eval()
    assert type(loaded) is VGG296Discriminator
    x = torch.rand(1, 3, 296, 296)
    torch.testing.assert_close(loaded(x), network(x), rtol=1e-4, atol=1e-5)


def test_a_ranker_is_no_discriminator(tmp_path: Path) -> None:
    """The first generation's Ranker has the same names and a head for the mean."""
    old = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    old |= {"classifier.0.weight": torch.zeros(100, 512), "classifier.0.bias": torch.zeros(100)}
    torch.save(old, tmp_path / "Ranker_NIQE.pth")
    with pytest.raises(InvalidCheckpoint, match="no discriminator that is known here"):
        load_discriminator(tmp_path / "Ranker_NIQE.pth")


@pytest.mark.parametrize("architecture", ["vgg", "patch", "unet"])
def test_a_generator_is_trained_against_each(architecture: str, gan, tmp_path: Path) -> None:
    config = gan(
        discriminator={"architecture": architecture, "width": 2},
        run={"steps": 2},
        losses={"pixel": {"weight": 0}},
    )
    for generator in ("srresnet", "rrdbnet"):
        sizes = {"rrdbnet": {"growth": 2, "blocks": 1}}.get(generator, {})
        result = train(
            config.model_copy(
                update={"generator": GeneratorConfig(architecture=generator, features=4, **sizes)}
            ),
            tmp_path / generator,
        )
        assert result.discriminator is not None
        trained = load_discriminator(result.discriminator)
        assert trained.architecture == architecture
        assert load_generator(result.generator).architecture == generator
