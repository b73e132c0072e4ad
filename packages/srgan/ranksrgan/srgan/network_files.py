"""Networks in weights files: ours say what they hold, others are told by their keys and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ranksrgan.contracts.checkpoint import (
    Weights,
    check_fit,
    halved,
    list_keys,
    load_into,
    load_weights,
    save_weights,
)
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.srgan.network import Network

N = TypeVar("N", bound=Network)


def save_network(
    path: Path, network: Network, about: Mapping[str, Any], *, half: bool = False
) -> None:
    """Write ``.safetensors``.

    Args:
        path: of the file.
        network: to write.
        about: JSON values worth keeping with the weights.
        half: in float16, see `halved`.

    Raises:
        InvalidInput: see `halved`.
        DiskFull: see `save_weights`.
    """
    state = network.state_dict()
    save_weights(
        path,
        halved(state) if half else state,
        kind=network.kind,
        architecture=network.architecture,
        options=network.options,
        about=about,
    )


def load_network(
    path: Path, architectures: Mapping[str, type[N]], said: Mapping[str, Any] | None = None
) -> N:
    """Read a network of one of the architectures.

    Args:
        path: ``.safetensors`` of ours, or ``.pth``/``.pt`` of another project.
        architectures: see `network_of`.
        said: likewise.

    Raises:
        InvalidCheckpoint: damaged, unsafe, or see `network_of`.
    """
    return network_of(load_weights(path), architectures, said)


@making_networks()
def network_of(
    weights: Weights, architectures: Mapping[str, type[N]], said: Mapping[str, Any] | None = None
) -> N:
    """The network that weights belong to, with them in it.

    Args:
        weights: of a file.
        architectures: by the name in our files' metadata. Files without are tried in this order; no
            two fit one file.
        said: options of a file of another project that its tensors leave open.

    Raises:
        InvalidCheckpoint: of another kind or of an unknown architecture, with unknown keys (which
            are listed), or of other options than its metadata say.
    """
    path = weights.path
    kinds = sorted({architecture.kind for architecture in architectures.values()})
    if weights.kind not in (None, *kinds):
        raise InvalidCheckpoint(
            f"{path} holds a {weights.kind}; a {' or '.join(kinds)} is wanted here",
            field=str(path),
        )
    if weights.architecture not in (None, *architectures):
        raise InvalidCheckpoint(
            f"{path} holds the architecture {weights.architecture}; known are "
            f"{', '.join(architectures)}",
            field=str(path),
        )
    for name, architecture in architectures.items():
        if weights.architecture not in (None, name):
            continue
        tensors = architecture.modern_keys(weights.tensors)
        try:
            with torch.device("meta"):
                network = architecture.fitting(tensors, weights.options or said)
        except InvalidInput as error:
            raise InvalidCheckpoint(f"{path}: {error}", field=str(path)) from error
        if network is None:
            continue
        if weights.options and not _equal(weights.options, network.options):
            raise InvalidCheckpoint(
                f"{path} says that its options are {weights.options}; its tensors are those of "
                f"{network}",
                field=str(path),
            )
        named = replace(weights, tensors=tensors)
        check_fit(network, named)
        network = type(network)(**network.options)
        load_into(network, named)
        return network
    wanted = weights.architecture or f"{' or '.join(kinds)} that is known here"
    raise InvalidCheckpoint(
        f"{path} is no {wanted} "
        f"({', '.join(architectures)}): its {len(weights.tensors)} keys are "
        f"{list_keys(weights.tensors)}",
        field=str(path),
    )


def _equal(said: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether options are the same as JSON, in which 4 is not 4.0, nor 1 true."""
    return said == own and all(type(value) is type(own[name]) for name, value in said.items())
