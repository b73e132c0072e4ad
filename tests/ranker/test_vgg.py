from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidCheckpoint, InvalidInput
from ranksrgan.ranker import VGG, VGG8, VGG12, VGG16
from ranksrgan.ranker.vgg import ARCHITECTURES, layout_of, rename_old_keys

# Kernels of each stage, and output channels at width 64, as the specification has them.
TABLES = {
    8: [[3, 4], [4], [4], [4], [4]],
    12: [[3, 4]] * 5,
    16: [[3, 4], [3, 3, 4], [3, 3, 4], [3, 3, 4], [3, 3, 4]],
}
CHANNELS = (64, 128, 256, 512, 512)


@pytest.mark.parametrize(
    ("make", "count"), [(VGG8, 7_069_961), (VGG12, 13_734_281), (VGG16, 19_194_377)]
)
def test_parameter_counts_of_the_paper(make: type[VGG], count: int) -> None:
    assert sum(p.numel() for p in make().parameters()) == count


@pytest.mark.parametrize("depth", TABLES)
def test_state_dict_has_the_official_keys_and_shapes(depth: int) -> None:
    expected = {}
    fan_in, layers = 3, 2
    for stage, (out, kernels) in enumerate(zip(CHANNELS, TABLES[depth], strict=True)):
        for place, kernel in enumerate(kernels):
            layers += 1
            expected[f"conv{stage}_{place}.weight"] = (out, fan_in, kernel, kernel)
            expected[f"conv{stage}_{place}.bias"] = (out,)
            if (stage, place) != (0, 0):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    expected[f"bn{stage}_{place}.{name}"] = (out,)
                expected[f"bn{stage}_{place}.num_batches_tracked"] = ()
            fan_in = out
    assert layers == depth
    expected |= {
        "classifier.0.weight": (100, 512),
        "classifier.0.bias": (100,),
        "classifier.2.weight": (1, 100),
        "classifier.2.bias": (1,),
    }
    found = {key: tuple(value.shape) for key, value in VGG(depth).state_dict().items()}
    assert found == expected
    if depth == 12:
        assert len(found) == 69


@pytest.mark.parametrize("depth", TABLES)
@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [
        (296, 296, [(148, 148), (74, 74), (37, 37), (18, 18), (9, 9)]),
        (300, 480, [(150, 240), (75, 120), (37, 60), (18, 30), (9, 15)]),
    ],
)
def test_sizes_of_the_layer_table(
    depth: int, height: int, width: int, sides: list[tuple[int, int]]
) -> None:
    network = VGG(depth, 2).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert module.padding == (1, 1)
            assert module.stride == ((2, 2) if module.kernel_size == (4, 4) else (1, 1))
    images = torch.rand(1, 3, height, width)
    maps = network.features(images)
    assert [tuple(m.shape[2:]) for m in maps] == sides
    assert [m.shape[1] for m in maps] == [2, 4, 8, 16, 16]
    assert network(images).shape == (1,)


def reference(network: VGG, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """The table of the specification, written out with functions and the state dict alone."""
    s = network.state_dict()
    x = images
    maps = []
    for stage, kernels in enumerate(TABLES[network.depth]):
        for place, kernel in enumerate(kernels):
            name = f"{stage}_{place}"
            weight, bias = s[f"conv{name}.weight"], s[f"conv{name}.bias"]
            x = F.conv2d(x, weight, bias, stride=2 if kernel == 4 else 1, padding=1)
            if name != "0_0":
                mean, var = s[f"bn{name}.running_mean"], s[f"bn{name}.running_var"]
                shape = (1, -1, 1, 1)
                x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
                x = x * s[f"bn{name}.weight"].view(shape) + s[f"bn{name}.bias"].view(shape)
            x = torch.where(x > 0, x, 0.2 * x)
        maps.append(x)
    x = torch.stack([plane.flatten(1).mean(1) for plane in x])
    x = x @ s["classifier.0.weight"].T + s["classifier.0.bias"]
    x = torch.where(x > 0, x, 0.2 * x)
    return maps, x @ s["classifier.2.weight"].T + s["classifier.2.bias"]


def grown(depth: int, heads: int = 1) -> VGG:
    """Width 4, float64, with weights and running statistics of its own."""
    network = VGG(depth, 4, heads=heads).double()
    network(torch.rand(6, 3, 48, 48, dtype=torch.float64))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("depth", TABLES)
@pytest.mark.parametrize("size", [(64, 64), (40, 100), (100, 40), (32, 97)])
def test_equals_the_table_at_any_aspect_ratio(depth: int, size: tuple[int, int]) -> None:
    network = grown(depth)
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    maps, scores = reference(network, images)
    torch.testing.assert_close(network(images), scores[:, 0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(network.features(images), maps, rtol=1e-10, atol=1e-12)


def test_several_heads() -> None:
    network = grown(12, heads=3)
    images = torch.rand(2, 3, 40, 48, dtype=torch.float64)
    scores = network(images)
    assert scores.shape == (2, 3)
    torch.testing.assert_close(scores, reference(network, images)[1], rtol=1e-10, atol=1e-12)
    for head in range(3):
        alone = network.of_head(head).double().eval()
        torch.testing.assert_close(alone(images), scores[:, head], rtol=1e-12, atol=1e-12)
    for head in (-1, 3):
        with pytest.raises(InvalidInput, match=f"no head {head}: the Ranker has 3"):
            network.of_head(head)


def test_features_carry_a_gradient_to_the_image() -> None:
    """They serve as a perceptual loss: activations in place must not spoil what is kept."""
    network = grown(16)
    images = torch.rand(1, 3, 32, 33, dtype=torch.float64, requires_grad=True)
    other = torch.rand_like(images)

    def loss(x: Tensor) -> Tensor:
        both = zip(network.features(x), network.features(other), strict=True)
        return torch.stack([(a - b.detach()).square().mean() for a, b in both]).sum()

    (gradient,) = torch.autograd.grad(loss(images), images)
    direction = torch.randn_like(images)
    with torch.no_grad():
        rise = loss(images + 1e-6 * direction) - loss(images - 1e-6 * direction)
    slope = (gradient * direction).sum().item()
    assert slope == pytest.approx(rise.item() / 2e-6, rel=1e-5)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_too_small(size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size)
    with pytest.raises(ImageTooSmall, match="32 x 32"):
        VGG12(2)(images)
    with pytest.raises(ImageTooSmall, match="32 x 32"):
        VGG8(2).features(images)


@pytest.mark.parametrize("depth", TABLES)
def test_smallest_size(depth: int) -> None:
    assert VGG(depth, 2).eval()(torch.rand(1, 3, 32, 32)).shape == (1,)


@pytest.mark.parametrize(
    ("depth", "width", "heads", "field"),
    [(11, 4, 1, "depth"), (12, 0, 1, "width"), (8, 4, 0, "heads")],
)
def test_impossible_networks(depth: int, width: int, heads: int, field: str) -> None:
    with pytest.raises(InvalidInput, match=r"VGG-11; 8, 12|width 0|0 heads") as caught:
        VGG(depth, width, heads=heads)
    assert caught.value.field == field


def test_he_initialisation_is_reproducible() -> None:
    first, second = (VGG12(16, torch.Generator().manual_seed(3)) for _ in range(2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    weight = first.state_dict()["conv3_1.weight"]  # fan-in 128 * 16
    assert weight.std().item() == pytest.approx((2 / (1 + 0.2**2) / 2048) ** 0.5, rel=0.02)
    assert not first.state_dict()["conv3_1.bias"].any()


@pytest.mark.parametrize("depth", TABLES)
def test_the_published_start_is_that_of_pytorch(depth: int) -> None:
    torch.manual_seed(5)
    fan_in, expected = 3, []
    for out, kernels in zip((4, 8, 16, 32, 32), TABLES[depth], strict=True):
        for kernel in kernels:
            expected.append(nn.Conv2d(fan_in, out, kernel))
            fan_in = out
    expected += [nn.Linear(32, 100), nn.Linear(100, 1)]
    network = VGG(depth, 4, torch.Generator().manual_seed(5), start="pytorch")
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer, drawn in zip(expected, found, strict=True):
        assert torch.equal(layer.weight, drawn.weight)
        assert torch.equal(layer.bias, drawn.bias)


def test_autocast_leaves_the_head_in_float32() -> None:
    network = VGG12(4).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def weights_of(state: dict[str, Tensor]) -> Weights:
    return Weights(Path("x.pth"), state, None, None)


@pytest.mark.parametrize("depth", TABLES)
@pytest.mark.parametrize(("width", "heads"), [(2, 1), (3, 4)])
def test_layout_is_read_from_the_tensors(depth: int, width: int, heads: int) -> None:
    state = VGG(depth, width, heads=heads).state_dict()
    assert layout_of(weights_of(state)) == (depth, width, heads)
    for key in state:  # a file that misses one tensor is still of its depth
        if key not in ("conv0_0.weight", "classifier.2.weight"):
            damaged = {k: v for k, v in state.items() if k != key}
            assert layout_of(weights_of(damaged)).depth == depth


def test_layout_of_something_else() -> None:
    state = VGG8(2).state_dict()
    for key, value in (("conv0_0", torch.zeros(2)), ("classifier.2", torch.zeros(0, 100))):
        with pytest.raises(InvalidCheckpoint, match=rf"x\.pth is no Ranker: it has no {key}"):
            layout_of(weights_of({**state, f"{key}.weight": value}))
        without = {k: v for k, v in state.items() if k != f"{key}.weight"}
        with pytest.raises(InvalidCheckpoint, match=f"no {key}"):
            layout_of(weights_of(without))


def test_what_a_file_says_of_the_network() -> None:
    network = VGG16(3, heads=2)
    assert network.architecture == "vgg16"
    assert network.options == {"width": 3, "heads": 2}
    assert ARCHITECTURES == ("vgg8", "vgg12", "vgg16")


def test_old_keys() -> None:
    """The first official generation as the specification describes it: a flat list of modules."""
    layers: list[nn.Module] = [nn.Conv2d(3, 2, 3), nn.LeakyReLU()]
    names = ["conv0_0", ""]
    fan_in = 2
    for stage, out in enumerate((2, 4, 8, 16, 16)):
        for place in (0, 1):
            if stage or place:
                kernel = 4 if place else 3
                layers += [nn.Conv2d(fan_in, out, kernel), nn.BatchNorm2d(out), nn.LeakyReLU()]
                names += [f"conv{stage}_{place}", f"bn{stage}_{place}", ""]
                fan_in = out
    old = {f"features.{k}": v for k, v in nn.Sequential(*layers).state_dict().items()}
    old["classifier.0.weight"] = torch.zeros(100, 16)
    renamed = rename_old_keys(old)
    for key, value in old.items():
        if key.startswith("features."):
            _, index, rest = key.split(".", 2)
            assert renamed[f"{names[int(index)]}.{rest}"] is value
    assert set(renamed) | {"classifier.0.bias", "classifier.2.weight", "classifier.2.bias"} == set(
        VGG12(2).state_dict()
    )


def test_zero_mean_start_sees_no_brightness() -> None:
    plain, textured = (
        VGG(12, 8, torch.Generator().manual_seed(3), start=start) for start in ("he", "zero_mean")
    )
    first = textured.get_parameter("conv0_0.weight")
    assert first.sum((2, 3)).abs().max() < 1e-6
    difference = plain.get_parameter("conv0_0.weight") - first
    torch.testing.assert_close(difference, difference[..., :1, :1].expand_as(difference))
    for key, value in plain.state_dict().items():
        if key != "conv0_0.weight":
            assert torch.equal(value, textured.state_dict()[key])
    with pytest.raises(InvalidInput, match="start 'cold': he, zero_mean, pytorch are there"):
        VGG(12, 8, start="cold")  # type: ignore[arg-type]
