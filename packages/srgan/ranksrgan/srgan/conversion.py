"""Weights files made of weights files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ranksrgan.contracts import atomic
from ranksrgan.contracts.checkpoint import load_weights
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput
from ranksrgan.contracts.outputs import check_output
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.srgan.discriminators import READABLE
from ranksrgan.srgan.generators.architectures import (
    ARCHITECTURES,
    require_scale,
    save_generator,
)
from ranksrgan.srgan.generators.generator import Generator
from ranksrgan.srgan.interpolation import interpolate
from ranksrgan.srgan.network import Network
from ranksrgan.srgan.network_files import network_of, save_network
from ranksrgan.srgan.shipped import SHIPPED

log = logging.getLogger(__name__)


def convert(
    source: Path,
    target: Path,
    form: str | None = None,
    scale: int | None = None,
    *,
    half: bool = False,
) -> Network:
    """Write the weights of a file in another form; no number changes unless ``half`` is wanted.

    The same file makes the same bytes. A ``.safetensors`` keeps what was recorded of the weights,
    and records as ``converted_from`` the first file that they were converted from. A ``.pth`` that
    does not tell all of the network's options is written with a warning.

    Args:
        source: a generator or discriminator, see `load_generator` and `load_discriminator`; or the
            name of a shipped one.
        target: ``.safetensors`` for ours, ``.pth`` or ``.pt`` for a file of the original project.
        form: of the latter, see `Network.original_names`; the first that there is by default.
        scale: of a generator whose tensors leave it open.
        half: write float16 where that is safe, see `halved`; for ``.safetensors`` alone.

    Returns:
        The network that was read.

    Raises:
        DiskFull: there is no room for it.
        InvalidCheckpoint: see `load_network`.
        InvalidInput: ``target`` ends in something else or is a folder, a form is given for our own
            or ``half`` for another, or a weight is too large for it.
        NotSupported: no original code loads this network in that form.
    """
    ours = target.suffix == ".safetensors"
    if not ours and target.suffix not in {".pth", ".pt"}:
        raise InvalidInput(f"{target}: weights end in .safetensors, .pth or .pt", field=str(target))
    if ours and form is not None:
        raise InvalidInput(
            f"{target}: there is one form of .safetensors; {form} is for a .pth", field="to"
        )
    if half and not ours:
        raise InvalidInput(f"{target}: half precision is for .safetensors", field="half")
    check_output("target", target, [])
    source = SHIPPED.resolve(source)
    weights = load_weights(source)
    said = None if scale is None else {"scale": scale}
    network: Network = network_of(weights, {**ARCHITECTURES, **READABLE}, said)
    require_scale(network, scale, source)
    if ours:
        save_network(
            target, network, {"converted_from": weights.source, **weights.about}, half=half
        )
    else:
        first = next(iter(network.original_names()), "official")
        state = network.original_state(form or first)
        # Given a path, torch writes its name into the file, and hides an error of the disk.
        with atomic.replacing(target) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        _warn_of_untold(target, network, state.get("params", state))
    return network


def _warn_of_untold(target: Path, network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Log which options the tensors of a ``.pth`` do not tell, and what it is then read as here."""
    untold, fate = [], ""
    named = network.modern_keys(tensors)
    try:
        with making_networks(), torch.device("meta"):
            read = network.fitting(named)
    except InvalidCheckpoint as error:
        untold, fate = [str(error.field)], "refused"
    else:
        if read is not None:
            untold = [name for name, own in network.options.items() if read.options[name] != own]
            fate = f"taken for {read}"
    if untold:
        log.warning(
            "%s does not tell its %s: unless that is said where it is read, it is %s",
            target,
            ", ".join(f"{name} {network.options[name]}" for name in untold),
            fate,
        )


def interpolate_files(a: Path, b: Path, alpha: float, target: Path) -> Generator:
    """Write the generator between two, see `interpolate`; it records which, and ``alpha``.

    Args:
        a: weights of a generator, the result at ``alpha`` 0; or the name of a shipped one.
        b: likewise, at 1.
        alpha: from 0 to 1.
        target: a ``.safetensors`` file.

    Raises:
        InvalidCheckpoint: see `load_generator`.
        InvalidInput: see `interpolate`; or ``target`` ends in something else, or is a folder.
    """
    if target.suffix != ".safetensors":
        raise InvalidInput(f"{target}: it is written as .safetensors", field=str(target))
    check_output("target", target, [])
    ends = [load_weights(SHIPPED.resolve(end)) for end in (a, b)]
    network, other = (network_of(weights, ARCHITECTURES) for weights in ends)
    network.load_state_dict(interpolate(network, other, alpha))
    about = {"between": [weights.source for weights in ends], "alpha": alpha}
    save_generator(target, network, about)
    return network
