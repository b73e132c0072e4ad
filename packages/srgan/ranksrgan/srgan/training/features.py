"""What computes the features that the perceptual loss compares, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ranksrgan.contracts import FeatureMaps, Scorer
from ranksrgan.contracts.assets import find_asset
from ranksrgan.contracts.checkpoint import Weights, load_weights
from ranksrgan.contracts.device import place
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidConfig, MissingAsset
from ranksrgan.contracts.scorer import Recordable
from ranksrgan.contracts.specs import is_remote
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.srgan.training.encoders import (
    AlexNetFeatures,
    DistilledVGG19Features,
    Encoder,
    VGG19Features,
)
from ranksrgan.srgan.training.local_scorer import open_on

#: By the name of the asset that has their weights, and by a key of those with the width that tells
#: one network from another.
_ENCODERS: dict[str, tuple[Callable[[Weights, Sequence[str]], Encoder], str, tuple[int, int]]] = {
    "vgg19": (VGG19Features, "features.2.weight", (3, 3)),
    "vgg19_distilled": (DistilledVGG19Features, "conv11.weight", (3, 3)),
    "alexnet": (AlexNetFeatures, "features.0.weight", (11, 11)),
}


@runtime_checkable
class FeatureNetwork(Protocol):
    """Anything that turns images into features worth comparing."""

    @property
    def name(self) -> str:
        """What a training writes down about it."""
        ...

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        """Features by layer of ``(N, 3, H, W)`` RGB images in [0, 1], differentiable by them."""
        ...


class RankerTrunk:
    """A Ranker's own features: what it judges by, before it judges.

    Args:
        ranker: shows its features and has a gradient.
        layers: those that are compared; all that it shows if none is named.

    Raises:
        InvalidConfig: it shows no features, or they have no gradient.
    """

    def __init__(self, ranker: Scorer, layers: Sequence[str] = ()) -> None:
        info = ranker.info
        if not isinstance(ranker, FeatureMaps) or not info.differentiable:
            raise InvalidConfig(
                f"{info.name} shows no features with a gradient; a Ranker's weights, VGG19, its "
                "distilled form or AlexNet do",
                field="losses.perceptual.network",
            )
        self._ranker: FeatureMaps = ranker
        self._layers = tuple(layers)
        self.name = f"{info.name}:{info.parameters_hash[:12]}:{','.join(layers)}"

    @property
    def recordable(self) -> bool:
        """See `Recordable`."""
        return isinstance(self._ranker, Recordable) and self._ranker.recordable

    def extract(self, images: Tensor) -> Mapping[str, Tensor]:
        """See `FeatureNetwork.extract`."""
        found = self._ranker.feature_maps(images)
        return {name: found[name] for name in found if name in self._layers} or found


@making_networks()
def open_feature_network(
    spec: str, device: torch.device, layers: Sequence[str] = ()
) -> FeatureNetwork:
    """Open what ``losses.perceptual.network`` names.

    Args:
        spec: ``vgg19``, ``vgg19_distilled`` or ``alexnet`` for the file in ``$RANKSRGAN_ASSETS`` or
            the user's cache; or the path of such weights, which are recognised by their keys; or
            that of a Ranker's, options as for `open_scorer`, whose trunk it is then.
        device: where it computes, unless a Ranker's spec names another.
        layers: see the networks; none means the network's usual ones.

    Raises:
        MissingAsset: an asset that is not here; the message says where to get it, and how to do
            without.
        InvalidCheckpoint: no such file, or a damaged or unknown one.
        InvalidConfig: no such layer, or a scorer that shows no features.
        UnknownName: nothing of that name.
    """
    if spec in _ENCODERS:
        encoder = _ENCODERS[spec][0](load_weights(_asset(spec)), layers)
        return place(encoder, device)
    if Path(spec).suffix in {".safetensors", ".pth", ".pt"}:
        weights = load_weights(Path(spec))
        for network, key, kernel in _ENCODERS.values():
            if key in weights.tensors and tuple(weights.tensors[key].shape[2:]) == kernel:
                return place(network(weights, layers), device)
    if is_remote(spec):
        raise InvalidConfig(
            f"{spec}: features with a gradient do not travel; name the weights' file",
            field="losses.perceptual.network",
        )
    return RankerTrunk(open_on(spec, device), layers)


def require_network_file(spec: str) -> None:
    """Whether the file of what `open_feature_network` opens is here; nothing of it is read.

    Raises:
        MissingAsset: as there.
        InvalidCheckpoint: no such file.
    """
    if spec in _ENCODERS:
        _asset(spec)
    elif Path(spec).suffix in {".safetensors", ".pth", ".pt"} and not Path(spec).is_file():
        raise InvalidCheckpoint(f"{spec}: no such file", field="losses.perceptual.network")


def _asset(name: str) -> Path:
    try:
        return find_asset(name)
    except MissingAsset as error:
        raise MissingAsset(
            f"{error.message}, or name another network (losses.perceptual.network), or none: "
            "losses.perceptual.weight=0 losses.perceptual.network=null",
            field=error.field,
            looked_in=error.looked_in,
        ) from error
