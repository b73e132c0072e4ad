"""Perceptual image error by pairwise preference (PieAPP).

E. Prashnani, H. Cai, Y. Mostofi, P. Sen, "PieAPP: perceptual image-error assessment through
pairwise preference", CVPR 2018.

Patches of image and reference go through one network. One head scores the difference of the maps of
five depths, another weighs a patch by that of the deepest; the error of the image is the weighted
mean. Written from the paper and from what is known of the released network (its keys, that it sees
RGB in 0..255, where patches lie), and checked against a second computation on random weights. The
authors' weights were not to be had, so nothing is said of their published values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.checkpoint import check_fit, load_into, load_weights
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.metrics.perceptual import PerceptualNetwork, PerceptualScorer, distances

PATCH = 64
#: From one patch to the next: the authors' sparse sampling. Their dense one has 6, at twenty times
#: the work.
STRIDE = 27

# Layers whose maps are compared; sides are halved before each.
_TAPS = (3, 5, 7, 9, 11)
_SLOPE = 0.01
_LEAST_WEIGHT = 1e-6
# Patches that go through the network at a time.
_AT_ONCE = 32
# The released file has one number there, without the dimensions of a layer.
_SUBTRACT = "ref_score_subtract.weight"


def pieapp(
    images: Tensor,
    references: Tensor,
    border: int = 0,
    stride: int = STRIDE,
    weights: Path | None = None,
) -> Tensor:
    """PieAPP's error; lower is better. Equal images all have one error, which need not be 0.

    Args:
        images: ``(N, 3|1, H, W)``, floating point in [0, 1] or uint8; not rounded. What overshoots
            that range, as the output of a generator in training does, is looked at as it is.
        references: of the same shape.
        border: pixels to leave out on every side.
        stride: pixels from one patch to the next, 1 to 64; the last patch of a row and of a column
            ends with the image.
        weights: the authors' network; the asset ``pieapp`` if None.

    Returns:
        ``(N,)`` float64 on the device of ``images``, with gradients to both if they want one. Each
        pair is looked at on its own: a batch, the batch in another order and single calls give the
        same bits.

    Raises:
        InvalidInput: wrong shape, type, range or option, or the two differ in size.
        ImageTooSmall: a side without the border is below 64.
        ImageTooLarge: more than 2^24 pixels.
        MissingAsset: weights that are not here; says where to get them.
        InvalidCheckpoint: other weights than these.
    """
    return distances(open_network(stride, weights), images, references, border)


class Pieapp(PerceptualScorer):
    """`pieapp` as a `DifferentiableScorer`.

    Args:
        border: pixels to leave out on every side.
        stride: see `pieapp`.
    """

    metric = "pieapp"
    higher_is_better = False
    min_side = PATCH
    lowest, highest = -math.inf, math.inf
    measure = staticmethod(pieapp)

    def __init__(self, border: int = 0, stride: int = STRIDE) -> None:
        super().__init__(border)
        _check_stride(stride)
        self._stride = stride
        self._options["stride"] = stride

    def _network(self) -> PerceptualNetwork:
        return open_network(self._stride)


class PieappNetwork(PerceptualNetwork):
    """The error itself; keys are those of the released file.

    Args:
        width: channels of the first layers, 64 in the paper: 68,376,580 parameters.
        stride: see `pieapp`.
    """

    metric = "PieAPP"
    min_side = PATCH

    def __init__(self, width: int = 64, stride: int = STRIDE) -> None:
        super().__init__()
        self._stride = stride
        channels = [3, *(width * times for times in (1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8))]
        for number, (before, after) in enumerate(itertools.pairwise(channels), 1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, 3, padding=1))
        sizes = [channels[tap] * (PATCH >> depth) ** 2 for depth, tap in enumerate(_TAPS, 1)]
        self.fc1_score = nn.Linear(sum(sizes), 8 * width)
        self.fc2_score = nn.Linear(8 * width, 1)
        self.fc1_weight = nn.Linear(sizes[-1], 8 * width)
        self.fc2_weight = nn.Linear(8 * width, 1)
        self.ref_score_subtract = nn.Linear(1, 1)

    def forward(self, image: Tensor, reference: Tensor) -> Tensor:
        """See `PerceptualNetwork`."""
        places = list(_places(image.shape[2], image.shape[3], self._stride))
        scores, weights = [], []
        for begin in range(0, len(places), _AT_ONCE):
            cancellation.check()
            here = places[begin : begin + _AT_ONCE]
            seen, wanted = (self._features(_cut(x, here)) for x in (image, reference))
            difference, deepest = (b - a for a, b in zip(seen, wanted, strict=True))
            score = _SLOPE * self.fc2_score(self.fc1_score(difference).relu())
            scores.append(self.ref_score_subtract(score).double())
            weight = self.fc2_weight(self.fc1_weight(deepest).relu()) + _LEAST_WEIGHT
            weights.append(weight.double())
        weight = torch.cat(weights)
        return (torch.cat(scores) * weight).sum() / weight.sum()

    def _features(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of all depths in one row for each patch, and those of the deepest."""
        maps, found = 255 * patches, []
        for number in range(1, 12):
            if number in _TAPS:
                maps = F.max_pool2d(maps, 2)
            maps = self.get_submodule(f"conv{number}")(maps).relu()
            if number in _TAPS:
                found.append(maps.flatten(1))
        return torch.cat(found, 1), found[-1]


def open_network(stride: int = STRIDE, weights: Path | None = None) -> PerceptualNetwork:
    """The network of `pieapp`, which is loaded once in a process for the same file and stride.

    Raises:
        InvalidInput, MissingAsset, InvalidCheckpoint: see `pieapp`.
    """
    _check_stride(stride)
    return _load(Path(weights) if weights else find_asset("pieapp"), stride)


@lru_cache(maxsize=2)
def _load(path: Path, stride: int) -> PerceptualNetwork:
    weights = load_weights(path)
    subtract = weights.tensors.get(_SUBTRACT)
    if subtract is not None and subtract.shape == (1,):
        tensors = {**weights.tensors, _SUBTRACT: subtract[:, None]}
        weights = replace(weights, tensors=tensors)
    with torch.device("meta"):
        check_fit(PieappNetwork(), weights)
    with making_networks():
        network = PieappNetwork(stride=stride)
        load_into(network, weights)
        network.requires_grad_(False)
        return place(network, torch.device("cpu"))


def _places(height: int, width: int, stride: int) -> Iterator[tuple[int, int]]:
    """Top and left of each patch."""
    for top in (*range(0, height - PATCH, stride), height - PATCH):
        for left in (*range(0, width - PATCH, stride), width - PATCH):
            yield top, left


def _cut(image: Tensor, places: list[tuple[int, int]]) -> Tensor:
    return torch.cat([image[..., top : top + PATCH, left : left + PATCH] for top, left in places])


def _check_stride(stride: int) -> None:
    if not 1 <= stride <= PATCH:
        raise InvalidInput(f"a stride of {stride} is not 1 to {PATCH}", field="stride")
