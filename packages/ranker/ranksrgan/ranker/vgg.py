"""The Ranker's networks: VGG-8, VGG-12 and VGG-16 of the RankSRGAN paper (TPAMI version, table 2).

A stage is a row of convolutions whose last one is 4x4 with stride 2; all others are 3x3. Widths are
w, 2w, 4w, 8w and 8w. Every convolution but the first is followed by BatchNorm, and all of them by a
LeakyReLU. The mean over all positions then goes through 8w -> 100 -> LeakyReLU -> 1.

    stage      0        1        2        3        4       parameters at width 64
    VGG-8     3 4       4        4        4        4        7,069,961
    VGG-12    3 4      3 4      3 4      3 4      3 4      13,734,281
    VGG-16    3 4     3 3 4    3 3 4    3 3 4    3 3 4     19,194,377

Only VGG-12 was published as code. The other two are the layouts that have the paper's numbers of
parameters; VGG-16's 3x3 convolutions at width 512 could be distributed over the last two stages
otherwise. Keys of the state dict, such as ``conv{stage}_{place}.weight``, are those of the official
checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts.checkpoint import Weights
from ranksrgan.contracts.errors import ImageTooSmall, InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.ranker.heads import check_head

#: Five convolutions of stride 2 leave one position of 32 pixels, and none of 31.
MIN_SIDE = 32
SLOPE = 0.2

#: ``he``: as He et al. (2015) propose and the paper says. ``pytorch``: PyTorch's default
#: distributions, as in the published code. ``zero_mean``: as ``he``, but for the first layer's
#: filters, which have a mean of zero in each colour. They see texture from the first step on. The
#: others see mostly brightness, whose variation is many times that of texture, and no BatchNorm
#: follows them that could lift the difference between two versions of one content; it takes them
#: thousands of steps to find it.
Start = Literal["he", "zero_mean", "pytorch"]

#: By depth, the kernels of each stage.
KERNELS: dict[int, tuple[tuple[int, ...], ...]] = {
    8: ((3, 4), (4,), (4,), (4,), (4,)),
    12: ((3, 4), (3, 4), (3, 4), (3, 4), (3, 4)),
    16: ((3, 4), (3, 3, 4), (3, 3, 4), (3, 3, 4), (3, 3, 4)),
}
_WIDTHS = (1, 2, 4, 8, 8)
_HIDDEN = 100


class VGG(nn.Module):
    """Gives each image one unbounded number, or one for each of several metrics.

    The published code pools with a square window of the feature map's height, so that a wide image
    is cut off and a tall one fails. Here the mean is taken over all positions, which is the same
    for square images and right for every other.

    Args:
        depth: 8, 12 or 16.
        width: channels of the first stage; all others follow.
        generator: of the initial weights.
        heads: how many numbers; one trunk can learn several metrics.
        start: how the initial weights are drawn, see `Start`.

    Raises:
        InvalidInput: no such depth or start, or a width or number of heads below 1.
    """

    def __init__(
        self,
        depth: int,
        width: int = 64,
        generator: torch.Generator | None = None,
        *,
        heads: int = 1,
        start: Start = "he",
    ) -> None:
        super().__init__()
        if depth not in KERNELS:
            raise InvalidInput(f"there is no VGG-{depth}; 8, 12 and 16 are there", field="depth")
        if width < 1 or heads < 1:
            raise InvalidInput(
                f"width {width} and {heads} heads: each is at least 1",
                field="width" if width < 1 else "heads",
            )
        if start not in get_args(Start):
            raise InvalidInput(
                f"start {start!r}: {', '.join(get_args(Start))} are there", field="start"
            )
        self.depth, self.width, self.heads = depth, width, heads
        channels = 3
        for stage, kernels in enumerate(KERNELS[depth]):
            wider = width * _WIDTHS[stage]
            for place, kernel in enumerate(kernels):
                stride = 2 if kernel == 4 else 1
                convolution = nn.Conv2d(channels, wider, kernel, stride, padding=1)
                self.add_module(f"conv{stage}_{place}", convolution)
                if stage or place:
                    self.add_module(f"bn{stage}_{place}", nn.BatchNorm2d(wider))
                channels = wider
        self.classifier = nn.Sequential(
            nn.Linear(channels, _HIDDEN), nn.LeakyReLU(SLOPE), nn.Linear(_HIDDEN, heads)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _draw(module, generator, start)
        if start == "zero_mean":
            first = self.get_parameter("conv0_0.weight")
            with torch.no_grad():
                first.sub_(first.mean((2, 3), keepdim=True))

    @property
    def architecture(self) -> str:
        """The name in weights files: ``vgg12``."""
        return f"vgg{self.depth}"

    @property
    def options(self) -> dict[str, int]:
        """What a weights file says beside the name to build the network again."""
        return {"width": self.width, "heads": self.heads}

    @property
    def min_side(self) -> int:
        """Below it an image leaves no position to pool."""
        return MIN_SIDE

    @making_networks()
    def of_head(self, head: int) -> VGG:
        """A network with copies of these weights that has no other head than this one.

        Raises:
            InvalidInput: ``head`` is not one of 0 to heads - 1.
        """
        check_head(head, self.heads)
        state = dict(self.state_dict())
        for key in ("classifier.2.weight", "classifier.2.bias"):
            state[key] = state[key][head : head + 1]
        alone = VGG(self.depth, self.width).to(state["conv0_0.weight"].dtype)
        alone.load_state_dict(state)
        return alone

    def forward(self, images: Tensor) -> Tensor:
        """Score a batch.

        Args:
            images: ``(N, 3, H, W)`` RGB in [0, 1], not normalised, both sides at least 32.

        Returns:
            ``(N,)`` scores in the type of the parameters, or ``(N, heads)`` if there are several;
            a larger score says that the metric which the Ranker has learnt is larger.

        Raises:
            ImageTooSmall: a side is below 32 pixels.
        """
        deepest = self.features(images)[-1]
        # A score needs more than the 8 bits of bfloat16's mantissa, so autocast ends here.
        with torch.autocast(images.device.type, enabled=False):
            pooled = deepest.to(next(self.parameters()).dtype).mean((2, 3))
            scores: Tensor = self.classifier(pooled)
        return scores if self.heads > 1 else scores.squeeze(1)

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps after the last activation of each of the five stages.

        Args:
            images: as for `forward`.

        Returns:
            ``(N, C, H // 2, W // 2)`` with C = w to ``(N, C, H // 32, W // 32)`` with C = 8w, in
            the type of the computation.

        Raises:
            ImageTooSmall: a side is below 32 pixels.
        """
        height, width = images.shape[-2:]
        if min(height, width) < MIN_SIDE:
            raise ImageTooSmall(
                f"an image of {width} x {height} pixels is too small: the Ranker needs "
                f"{MIN_SIDE} x {MIN_SIDE}",
                field="images",
            )
        maps = []
        x = images
        for stage, kernels in enumerate(KERNELS[self.depth]):
            for place in range(len(kernels)):
                x = self.get_submodule(f"conv{stage}_{place}")(x)
                if stage or place:
                    x = self.get_submodule(f"bn{stage}_{place}")(x)
                x = F.leaky_relu(x, SLOPE, inplace=True)
            maps.append(x)
        return maps


VGG8 = partial(VGG, 8)
VGG12 = partial(VGG, 12)
VGG16 = partial(VGG, 16)

ARCHITECTURES = tuple(f"vgg{depth}" for depth in KERNELS)


class Layout(NamedTuple):
    """Which `VGG` a state dict belongs to."""

    depth: int
    width: int
    heads: int


def layout_of(weights: Weights) -> Layout:
    """Read a network's layout from the keys and shapes of its tensors.

    The depth is the one whose convolutions agree best with those there are, so that of a file which
    misses a tensor it can be said which one.

    Args:
        weights: with keys of the second generation, see `rename_old_keys`.

    Raises:
        InvalidCheckpoint: they are not a Ranker's.
    """
    width = _outputs(weights, "conv0_0", dimensions=4)
    heads = _outputs(weights, "classifier.2", dimensions=2)
    keys = weights.tensors
    found = {key for key in keys if key.startswith("conv") and key.endswith(".weight")}

    def differences(depth: int) -> int:
        stages = enumerate(KERNELS[depth])
        own = {f"conv{s}_{p}.weight" for s, kernels in stages for p in range(len(kernels))}
        return len(own ^ found)

    return Layout(min(KERNELS, key=differences), width, heads)


def rename_old_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the first official generation (``features.5.weight``) under the names above.

    ``features`` counts VGG-12's convolutions, normalisations and activations alike: 0 and 2, 3 are
    stage 0, then every place of the later stages takes three. Other keys are kept.
    """
    modules = {"0": "conv0_0", "2": "conv0_1", "3": "bn0_1"}
    places = [(stage, place) for stage in range(1, 5) for place in (0, 1)]
    for i, (stage, place) in enumerate(places):
        modules[str(5 + 3 * i)] = f"conv{stage}_{place}"
        modules[str(6 + 3 * i)] = f"bn{stage}_{place}"
    renamed = {}
    for key, value in tensors.items():
        head, _, rest = key.partition(".")
        index, _, name = rest.partition(".")
        old = head == "features" and index in modules
        renamed[f"{modules[index]}.{name}" if old else key] = value
    return renamed


def _outputs(weights: Weights, layer: str, dimensions: int) -> int:
    value = weights.tensors.get(f"{layer}.weight")
    if value is None or value.ndim != dimensions or len(value) == 0:
        where = str(weights.path)
        raise InvalidCheckpoint(f"{where} is no Ranker: it has no {layer}", field=where)
    return len(value)


def _draw(module: nn.Conv2d | nn.Linear, generator: torch.Generator | None, start: Start) -> None:
    """Draw initial weights; with the same seed ``pytorch`` gives PyTorch's own numbers."""
    weight, bias = module.parameters()
    if start == "pytorch":
        nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
        bound = weight[0].numel() ** -0.5
        nn.init.uniform_(bias, -bound, bound, generator=generator)
    else:
        nn.init.kaiming_normal_(weight, a=SLOPE, generator=generator)
        nn.init.zeros_(bias)
