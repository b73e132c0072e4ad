"""Learned perceptual image patch similarity (LPIPS), version 0.1.

R. Zhang, P. Isola, A. A. Efros, E. Shechtman, O. Wang, "The unreasonable effectiveness of deep
features as a perceptual metric", CVPR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.backbones import AlexNet, Backbone, SqueezeNet, Vgg16, load_backbone
from ranksrgan.metrics.full_reference import plane_mean
from ranksrgan.metrics.perceptual import PerceptualNetwork, PerceptualScorer, distances

Net = Literal["alex", "squeeze", "vgg"]
NETS: tuple[Net, ...] = get_args(Net)

_BACKBONES: dict[Net, type[Backbone]] = {"alex": AlexNet, "squeeze": SqueezeNet, "vgg": Vgg16}
_ASSETS: dict[Net, str] = {"alex": "alexnet", "squeeze": "squeezenet", "vgg": "vgg16"}

# Mean and deviation of the channels of [-1, 1], as published.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


def lpips(
    images: Tensor,
    references: Tensor,
    border: int = 0,
    net: Net = "alex",
    backbone: Path | None = None,
    weights: Path | None = None,
) -> Tensor:
    """LPIPS; lower is better, 0 for equal images.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8; not rounded. What overshoots
            that range, as the output of a generator in training does, is looked at as it is.
        references: of the same shape.
        border: pixels to leave out on every side.
        net: ``"alex"``, ``"squeeze"`` or ``"vgg"``. Tables mean ``alex``, losses often ``vgg``.
        backbone: torchvision's weights of that network; the asset ``alexnet``, ``squeezenet`` or
            ``vgg16`` if None.
        weights: the linear weights of LPIPS for it; the asset ``lpips-alex``, ``lpips-squeeze`` or
            ``lpips-vgg`` if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``, with gradients to both if they want one. Each
        pair is looked at on its own: a batch, the batch in another order and single calls give the
        same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side without the border is below 31 (alex), 17 (squeeze) or 16 (vgg).
        ImageTooLarge: more than 2^24 pixels, or 2^22 where a gradient is wanted.
        MissingAsset: weights that are not here; says where to get them.
        InvalidCheckpoint: other weights than these.
    """
    return distances(open_network(net, backbone, weights), images, references, border)


class Lpips(PerceptualScorer):
    """`lpips` as a `DifferentiableScorer`.

    Args:
        border: pixels to leave out on every side.
        net: ``"alex"``, ``"squeeze"`` or ``"vgg"``.
    """

    metric = "lpips"
    higher_is_better = False
    lowest, highest = 0.0, math.inf
    measure = staticmethod(lpips)

    def __init__(self, border: int = 0, net: Net = "alex") -> None:
        super().__init__(border)
        _check_net(net)
        self._net = net
        self._options["net"] = net
        self.min_side = _BACKBONES[net].min_side

    def _network(self) -> PerceptualNetwork:
        return open_network(self._net)


class LpipsNetwork(PerceptualNetwork):
    """The distance itself (equation 1).

    Args:
        backbone: whose features are compared.
        weights: of the channels of each tap, ``(C,)``.
    """

    metric = "LPIPS"
    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.min_side = backbone.min_side
        for tap, values in enumerate(weights):
            self.register_buffer(f"weights{tap}", values)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """See `PerceptualNetwork`."""
        features = zip(self._features(image), self._features(reference), strict=True)
        layers = []
        for tap, (x, y) in enumerate(features):
            weights: Tensor = self.get_buffer(f"weights{tap}")
            differences = (_unit(x) - _unit(y)).square()
            layers.append(plane_mean((weights[:, None, None] * differences).sum(dim=1).double()))
        return torch.stack(layers).sum()

    def _features(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.backbone((2 * image - 1 - self.shift) / self.scale)
        return found


def open_network(
    net: Net, backbone: Path | None = None, weights: Path | None = None
) -> PerceptualNetwork:
    """The network of `lpips`, which is loaded once in a process for the same files.

    Raises:
        InvalidInput, MissingAsset, InvalidCheckpoint: see `lpips`.
    """
    _check_net(net)
    return _load(
        net,
        Path(backbone) if backbone else find_asset(_ASSETS[net]),
        Path(weights) if weights else find_asset(f"lpips-{net}"),
    )


@lru_cache(maxsize=8)
def _load(net: Net, backbone: Path, weights: Path) -> PerceptualNetwork:
    with making_networks():
        network = load_backbone(_BACKBONES[net](), backbone)
        linear = _linear_weights(weights, network.widths, net)
        return place(LpipsNetwork(network, linear), torch.device("cpu"))


def _linear_weights(path: Path, widths: Sequence[int], net: Net) -> list[Tensor]:
    weights = load_weights(path)
    found = []
    for tap, width in enumerate(widths):
        key = f"lin{tap}.model.1.weight"
        values = weights.tensors.get(key)
        if values is None or values.shape != (1, width, 1, 1):
            state = "missing" if values is None else f"of the shape {tuple(values.shape)}"
            raise InvalidCheckpoint(
                f"{path} is not LPIPS for net={net}: {key} is {state} and should be of the shape "
                f"{(1, width, 1, 1)}",
                field=str(path),
            )
        found.append(values.flatten().float())
    return found


def _check_net(net: str) -> None:
    if net not in NETS:
        raise InvalidInput(
            f"LPIPS knows no network {net!r}: it is one of {', '.join(NETS)}", field="net"
        )


def _unit(features: Tensor) -> Tensor:
    """Scaled to length 1 over the channels; what is 0 there stays so.

    The bound under the root keeps its gradient finite there, and is far below any feature.
    """
    squares = features.square().sum(dim=1, keepdim=True)
    return features / (squares.clamp(min=1e-20).sqrt() + 1e-10)
