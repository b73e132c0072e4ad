"""What holds for every generator at every scale: exact tiles, honest reach, files that return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksrgan.contracts import open_upscaler
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.srgan.foreign.fast_srgan import FastSRGAN
from ranksrgan.srgan.foreign.imdn import IMDN
from ranksrgan.srgan.foreign.srgan_leftthomas import LeftThomasSRGAN
from ranksrgan.srgan.generators.architectures import (
    ARCHITECTURES,
    TRAINABLE,
    load_generator,
    save_generator,
)
from ranksrgan.srgan.generators.edsr import EDSR
from ranksrgan.srgan.generators.fsrcnn import FSRCNN
from ranksrgan.srgan.generators.generator import Generator, Views, WholeImageGenerator
from ranksrgan.srgan.generators.msrresnet import MSRResNet
from ranksrgan.srgan.generators.parts import fold
from ranksrgan.srgan.generators.rrdbnet import RRDBNet
from ranksrgan.srgan.generators.srresnet import SRResNet
from ranksrgan.srgan.generators.two_view_rrdbnet import TwoViewRRDBNet
from ranksrgan.srgan.upscaling.upscaler import GeneratorUpscaler

MakeNetwork = Callable[[], Generator]

NETWORKS: dict[str, MakeNetwork] = {
    **{f"srresnet x{s}": lambda s=s: SRResNet(6, 2, s) for s in (2, 3, 4)},
    **{f"msrresnet x{s}": lambda s=s: MSRResNet(6, 2, s) for s in (2, 3, 4)},
    **{f"edsr x{s}": lambda s=s: EDSR(6, 2, s) for s in (2, 3, 4)},
    **{f"fsrcnn x{s}": lambda s=s: FSRCNN(6, 2, s, bottleneck=4) for s in (2, 3, 4)},
    **{f"rrdbnet x{s}": lambda s=s: RRDBNet(6, 2, 3, s) for s in (1, 2, 3, 4)},
    **{f"two_view_rrdbnet x{s}": lambda s=s: TwoViewRRDBNet(6, 1, 3, s) for s in (1, 4)},
    "rrdbnet x2, unfolded": lambda: RRDBNet(6, 2, 3, 2, unshuffle=1),
    **{f"imdn x{s}": lambda s=s: IMDN(8, 2, s) for s in (2, 3, 4)},
    "srgan_leftthomas x2": lambda: LeftThomasSRGAN(4, doublings=1),
    "srgan_leftthomas x4": lambda: LeftThomasSRGAN(4),
    "fast_srgan x4": lambda: FastSRGAN(4, 2),
}

#: The layer that makes the picture.
LAST = {
    "imdn": "model.2",
    "srgan_leftthomas": "block8.2",
    "srgan_leftthomas x2": "block8.1",
    "fast_srgan": "head.0",
    "fsrcnn": "last_part",
}

#: Those that are trained.
TRAINED = [
    (name, scale)
    for name in TRAINABLE
    for scale in ((1, 4) if name == "two_view_rrdbnet" else (2, 3, 4))
]

every = pytest.mark.parametrize("name", NETWORKS)


def _make_a_picture(network: Generator, layer: str, spread: float = 0.1) -> None:
    """Let a layer's results, or those with what is added to them, lie around 0.5."""
    last = network.get_submodule(layer)
    made: list[Tensor] = []
    hook = last.register_forward_hook(lambda _module, _inputs, output: made.append(output))
    network(torch.rand(1, 3, 24, 24))
    hook.remove()
    # Where the network adds the mean colour or a base, the layer makes differences to it.
    unit = 255 if isinstance(network, EDSR) else 1
    factor = spread * unit / made[0].std()
    last.weight.mul_(factor)
    last.bias.sub_(made[0].mean((0, 2, 3))).mul_(factor)
    whole = {"srresnet", "rrdbnet", "two_view_rrdbnet", "imdn", "fsrcnn"}
    if network.architecture in whole and layer != "tail_conv1":
        last.bias.add_(0.5)


def lively(name: str) -> Generator:
    """Every weight matters, and most results lie within [0, 1]."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=(2 / parameter[0].numel()) ** 0.5)
            elif parameter.numel() > 1:
                parameter.uniform_(0.1, 0.3)
        if name == "srgan_leftthomas x2":
            _make_a_picture(network, "block8.1")
        elif isinstance(network, TwoViewRRDBNet):
            # Each view has a layer of its own, behind one that makes a picture for both.
            _make_a_picture(network, "conv_last")
            for layer in ("tail_conv1", "tail_conv2"):
                _make_a_picture(network, layer, 0.15)
        else:
            _make_a_picture(network, LAST.get(network.architecture, "conv_last"))
    return network


def test_every_architecture_is_here() -> None:
    assert {NETWORKS[name]().architecture for name in NETWORKS} == set(ARCHITECTURES)
    assert {f"{architecture} x{scale}" for architecture, scale in TRAINED} <= set(NETWORKS)


@every
def test_tiled_equals_whole(name: str) -> None:
    network = lively(name)
    for height, width, tile in (
        (37, 41, 16),
        (23, 30, 9),
        (1, 50, 11),
        (50, 1, 11),
        (1, 1, 5),
        (3, 2, 1),
        (19, 26, 64),
    ):
        image = torch.rand(1, 3, height, width)
        with torch.no_grad():
            whole = network(image).clamp(0, 1)
        scale = network.scale
        assert whole.shape == (1, 3, scale * height, scale * width)
        tiled = GeneratorUpscaler(network, tile=tile).upscale(image)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)
        if height * width > 400:
            assert (
                (whole > 0) & (whole < 1)
            ).double().mean() > 0.7  # there is something to compare
            assert whole.std() > 0.02


@every
def test_a_pixel_reaches_as_far_as_it_says(name: str) -> None:
    network = lively(name).double()
    part = network.enlarge if isinstance(network, WholeImageGenerator) else network
    reach, side = network.receptive_field, 2 * network.receptive_field + 5
    channels = 3
    if isinstance(network, WholeImageGenerator):
        folded = fold(torch.rand(1, 3, 4, 4, dtype=torch.float64), network.parts().fold)
        channels = network.trunk(folded).shape[1]
    x = torch.rand(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    middle, scale = reach + 2, network.parts().enlarge.scale
    corner = slice(middle * scale, (middle + 1) * scale)
    (gradient,) = torch.autograd.grad(part(x)[:, :, corner, corner].sum(), x)
    touched = (gradient != 0).any(dim=1)[0].nonzero() - middle
    assert touched.abs().max() == reach


@every
def test_a_batch_and_one_by_one_agree(name: str) -> None:
    network = lively(name)
    images = torch.rand(3, 3, 13, 10)
    with torch.no_grad():
        together = network(images)
        apart = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@every
def test_our_file_gives_the_same_network(name: str, tmp_path: Path) -> None:
    network = lively(name)
    path = tmp_path / "g.safetensors"
    save_generator(path, network, {"step": 3})
    weights = load_weights(path)
    assert (weights.architecture, weights.options) == (network.architecture, network.options)
    loaded = load_generator(path)
    assert type(loaded) is type(network)
    assert (loaded.options, loaded.scale) == (network.options, network.scale)
    image = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(image), network(image))
    info = open_upscaler(str(path)).info
    assert (info.architecture, info.scale) == (network.architecture, network.scale)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.split(" ")[0] in TRAINABLE])
def test_the_picture_is_made_in_float32_even_under_autocast(name: str) -> None:
    network = lively(name)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = network(torch.rand(1, 3, 12, 12))
    assert made.dtype == torch.float32
    assert (made != made.bfloat16()).any()


@pytest.mark.parametrize(("architecture", "scale"), TRAINED)
def test_it_learns(architecture: str, scale: int) -> None:
    """A fresh one gets nearer to a picture in a few steps: it passes gradients to every weight."""
    torch.manual_seed(1)
    growth = {"growth": 4}
    sizes = {"rrdbnet": growth, "two_view_rrdbnet": growth, "fsrcnn": {"bottleneck": 6}}.get(
        architecture, {}
    )
    network = TRAINABLE[architecture](features=8, blocks=2, scale=scale, **sizes).train()
    rows = torch.linspace(0, 6, 16 * scale)
    hr = (0.5 + 0.4 * torch.sin(rows[:, None] + 2 * rows)).expand(1, 3, -1, -1)
    lr = nn.functional.avg_pool2d(hr, scale)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = nn.functional.l1_loss(Views.of(network(lr)).fused, hr)
        optimiser.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
