from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.errors import ImageTooSmall
from ranksrgan.ranker import VGG12
from ranksrgan.ranker.vgg12 import rename_old_keys


def test_parameter_count_of_the_paper() -> None:
    assert sum(p.numel() for p in VGG12().parameters()) == 13_734_281


def test_state_dict_has_the_official_keys_and_shapes() -> None:
    expected = {}
    widths = [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    for stage, (fan_in, out) in enumerate(widths):
        for place, (channels, kernel) in enumerate(((fan_in, 3), (out, 4))):
            expected[f"conv{stage}_{place}.weight"] = (out, channels, kernel, kernel)
            expected[f"conv{stage}_{place}.bias"] = (out,)
            if (stage, place) != (0, 0):
                for name in ("weight", "bias", "running_mean", "running_var"):
                    expected[f"bn{stage}_{place}.{name}"] = (out,)
                expected[f"bn{stage}_{place}.num_batches_tracked"] = ()
    expected |= {
        "classifier.0.weight": (100, 512),
        "classifier.0.bias": (100,),
        "classifier.2.weight": (1, 100),
        "classifier.2.bias": (1,),
    }
    found = {key: tuple(value.shape) for key, value in VGG12().state_dict().items()}
    assert found == expected
    assert len(found) == 69


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [
        (296, 296, [(296, 296), (148, 148), (74, 74), (37, 37), (18, 18), (9, 9)]),
        (300, 480, [(300, 480), (150, 240), (75, 120), (37, 60), (18, 30), (9, 15)]),
    ],
)
def test_sizes_of_the_layer_table(height: int, width: int, sides: list[tuple[int, int]]) -> None:
    network = VGG12(2).eval()
    seen: list[tuple[int, int]] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.padding == (1, 1)
            assert module.stride == ((2, 2) if name.endswith("_1") else (1, 1))
            module.register_forward_hook(lambda m, i, y: seen.append(tuple(y.shape[2:])))
    assert network(torch.rand(1, 3, height, width)).shape == (1,)
    assert seen[0] == sides[0]
    assert seen[1::2] == sides[1:]


def reference(network: VGG12, images: Tensor) -> Tensor:
    """The table of the specification, written out with functions and the state dict alone."""
    s = network.state_dict()
    x = images
    for stage in range(5):
        for place in (0, 1):
            name = f"{stage}_{place}"
            weight, bias = s[f"conv{name}.weight"], s[f"conv{name}.bias"]
            x = F.conv2d(x, weight, bias, stride=1 + place, padding=1)
            if name != "0_0":
                mean, var = s[f"bn{name}.running_mean"], s[f"bn{name}.running_var"]
                shape = (1, -1, 1, 1)
                x = (x - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
                x = x * s[f"bn{name}.weight"].view(shape) + s[f"bn{name}.bias"].view(shape)
            x = torch.where(x > 0, x, 0.2 * x)
    x = torch.stack([plane.flatten(1).mean(1) for plane in x])
    x = x @ s["classifier.0.weight"].T + s["classifier.0.bias"]
    x = torch.where(x > 0, x, 0.2 * x)
    return (x @ s["classifier.2.weight"].T + s["classifier.2.bias"])[:, 0]


@pytest.mark.parametrize("size", [(64, 64), (40, 100), (100, 40), (32, 97)])
def test_equals_the_table_at_any_aspect_ratio(size: tuple[int, int]) -> None:
    network = VGG12(4).double()
    network(torch.rand(6, 3, 48, 48, dtype=torch.float64))  # running statistics of their own
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.eval()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(network(images), reference(network, images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooSmall, match="32 x 32"):
        VGG12(2)(torch.rand(1, 3, *size))


def test_smallest_size() -> None:
    assert VGG12(2).eval()(torch.rand(1, 3, 32, 32)).shape == (1,)


def test_he_initialisation_is_reproducible() -> None:
    first, second = (VGG12(16, torch.Generator().manual_seed(3)) for _ in range(2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    weight = first.state_dict()["conv3_1.weight"]  # fan-in 128 * 16
    assert weight.std().item() == pytest.approx((2 / (1 + 0.2**2) / 2048) ** 0.5, rel=0.02)
    assert not first.state_dict()["conv3_1.bias"].any()


def test_autocast_leaves_the_head_in_float32() -> None:
    network = VGG12(4).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 3, 32, 32)).dtype == torch.float32


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
