"""Which networks a Ranker can be, and how a weights file says which one it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksrgan.contracts import cancellation
from ranksrgan.contracts.checkpoint import (
    Weights,
    check_fit,
    halved,
    load_into,
    load_weights,
    save_weights,
)
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.ranker import vgg
from ranksrgan.ranker.config import TrainConfig
from ranksrgan.ranker.nss import NSS
from ranksrgan.ranker.shipped import SHIPPED
from ranksrgan.ranker.vgg import VGG, Start

KIND = "ranker"

Network = VGG | NSS

ARCHITECTURES = (*vgg.ARCHITECTURES, NSS.architecture)


@making_networks()
def make_network(
    architecture: str,
    width: int,
    generator: torch.Generator | None = None,
    *,
    heads: int = 1,
    start: Start = "he",
    border: int = 4,
) -> Network:
    """A network with initial weights.

    Args:
        architecture: one of `ARCHITECTURES`.
        width, heads: see `VGG` and `NSS`.
        generator: of the weights.
        start: see `VGG`; of no consequence for `NSS`.
        border: see `NSS`; of no consequence for `VGG`.

    Raises:
        InvalidInput: no such architecture, or a size that it does not have.
    """
    if architecture not in ARCHITECTURES:
        raise InvalidInput(
            f"there is no architecture {architecture!r}: {', '.join(ARCHITECTURES)} are there",
            field="architecture",
        )
    if architecture == NSS.architecture:
        return NSS(width, generator, heads=heads, border=border)
    depth = int(architecture.removeprefix("vgg"))
    return VGG(depth, width, generator, heads=heads, start=start)


def smallest_side(config: TrainConfig) -> int:
    """Of the images that the network of a training takes, see `make_network`."""
    with torch.device("meta"):
        return make_network(config.architecture, 1, border=config.border).min_side


@making_networks()
def load_network(weights: Weights) -> Network:
    """The network that the weights belong to, all heads included, ready to be trained further.

    Raises:
        InvalidCheckpoint: they belong to something else.
    """
    where = str(weights.path)
    if weights.kind not in (None, KIND) or weights.architecture not in (None, *ARCHITECTURES):
        raise InvalidCheckpoint(
            f"{where} holds a {weights.kind} of architecture {weights.architecture}; a {KIND} of "
            f"architecture {', '.join(ARCHITECTURES)} is wanted here",
            field=where,
        )
    build: Callable[[], Network]
    if weights.architecture == NSS.architecture:
        build = partial(_nss_of, weights.options, where)
        named = weights
    else:
        named = replace(weights, tensors=vgg.rename_old_keys(weights.tensors))
        depth, width, heads = vgg.layout_of(named)
        build = partial(VGG, depth, width, heads=heads)
    with torch.device("meta"):
        network = build()
    found = {"architecture": network.architecture, **network.options}
    for key, value in {**weights.options, "architecture": weights.architecture}.items():
        if key not in found:
            raise InvalidCheckpoint(
                f"{where} has the option {key}; a Ranker has {' and '.join(network.options)}",
                field=where,
            )
        if value not in (None, found[key]):
            raise InvalidCheckpoint(
                f"{where} says {key} {value} and its tensors are of {key} {found[key]}",
                field=where,
            )
    check_fit(network, named)
    network = build()
    load_into(network, named)
    return network


def convert(source: Path, target: Path, *, half: bool = False) -> Network:
    """Write a Ranker, ours or an official ``.pth``, as ``.safetensors``; no number changes unless
    ``half`` is wanted, and the same file makes the same bytes.

    Args:
        source: the weights, or the name of a shipped Ranker.
        target: ends in ``.safetensors``.
        half: in float16 where that is safe, see `halved`.

    Raises:
        InvalidCheckpoint: see `load_network`.
        InvalidInput: ``target`` ends in something else; see `halved`.
    """
    if target.suffix != ".safetensors":
        raise InvalidInput(f"{target}: it is written as .safetensors", field=str(target))
    weights = load_weights(SHIPPED.resolve(source))
    network = load_network(weights)
    state = network.state_dict()
    save_weights(
        target,
        halved(state) if half else state,
        kind=KIND,
        architecture=network.architecture,
        options=network.options,
        about=weights.about,
    )
    return network


class Frozen(nn.Module):
    """A network that nothing changes any more.

    It stops before its next convolution when nobody waits for the result: `RequestCancelled`.

    Args:
        network: is owned from here on.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(_check_wanted)
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval(): batch statistics would make a score depend on its neighbours."""
        super().train(False)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(images)
        return scores


def _check_wanted(module: nn.Module, inputs: object) -> None:
    cancellation.check()


def _nss_of(options: Mapping[str, Any], where: str) -> NSS:
    """Where blocks are cut cannot be read from tensors, so the file has to say it."""
    try:
        width, heads, border = (options[key] for key in ("width", "heads", "border"))
        if not all(type(value) is int for value in (width, heads, border)):
            raise InvalidInput("they are whole numbers", field="options")
        return NSS(width, heads=heads, border=border)
    except KeyError as error:
        raise InvalidCheckpoint(
            f"{where} is of architecture {NSS.architecture} and misses the option {error.args[0]}",
            field=where,
        ) from error
    except InvalidInput as error:
        raise InvalidCheckpoint(f"{where}: options: {error}", field=where) from error
