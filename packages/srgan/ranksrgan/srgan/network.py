"""What every network tells about itself, so that its weights can be read, written and renamed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ranksrgan.contracts.errors import InvalidCheckpoint, NotSupported


class Network(nn.Module, ABC):
    """A generator or a discriminator.

    Attributes:
        kind: ``"generator"`` or ``"discriminator"``.
        architecture: the name in files.
        options: the constructor's arguments that decide what the network computes; JSON values.
    """

    kind: ClassVar[str]
    architecture: ClassVar[str]
    options: dict[str, Any]

    def __str__(self) -> str:
        """Architecture and options in a line, for messages."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.architecture} ({options})"

    @classmethod
    @abstractmethod
    def fitting(
        cls, tensors: Mapping[str, Tensor], said: Mapping[str, Any] | None = None
    ) -> Self | None:
        """A network of the size of these weights, which are not loaded yet.

        Args:
            tensors: with the keys that `modern_keys` returns.
            said: options that a file or its reader states. Only those are looked at that tensors
                leave open.

        Returns:
            None if they belong to another architecture. Whether all of them are there and of the
            right shape is for loading to find out.

        Raises:
            InvalidCheckpoint: an option that tensors leave open is not said.
            InvalidInput: one has an impossible value.
        """

    @classmethod
    def modern_keys(cls, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under the names that this class uses; unknown ones stay as they are."""
        return dict(tensors)

    def original_names(self) -> dict[str, dict[str, str]]:
        """Our names of layers and theirs, see `rename_layers`, by the form of the file.

        ``official``: what the authors' present code loads; ``official-old``: what its first
        generation loads; ``basicsr``: what BasicSR and Real-ESRGAN load. Layers that are not named
        have one name in both.
        """
        return {"official": {}}

    def original_state(self, form: str) -> dict[str, Any]:
        """What a ``.pth`` file of the original project holds for these weights.

        Args:
            form: one of `original_names`.

        Raises:
            NotSupported: nobody else's code loads this network in that form; lists the forms.
        """
        forms = self.original_names()
        if form not in forms:
            raise NotSupported(
                f"no original code loads {self} as {form}; there is: {', '.join(forms) or 'none'}",
                field="to",
            )
        state = rename_layers(self.state_dict(), forms[form])
        return {"params": state} if form == "basicsr" else state


def rename_layers(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Weights with other names of layers.

    Args:
        tensors: by ``layer.part``.
        names: from layer to layer. ``{}`` stands for a number; the numbers of a name fill the
            places of the other in their order.

    Returns:
        All of them. One whose new name is taken keeps its own, to be found out by who loads them.
    """
    patterns = [
        (re.compile(re.escape(old).replace(r"\{\}", r"(\d+)")), new) for old, new in names.items()
    ]
    renamed: dict[str, Tensor] = {}
    for key, value in tensors.items():
        layer, _, part = key.rpartition(".")
        for pattern, new in patterns:
            if match := pattern.fullmatch(layer):
                layer = new.format(*match.groups())
                break
        found = f"{layer}.{part}" if layer else part
        taken = found in renamed or (found != key and found in tensors)
        renamed[key if taken else found] = value
    return renamed


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """The way back of `rename_layers`."""
    return {new: old for old, new in names.items()}


def said_number(said: Mapping[str, Any] | None, name: str) -> float | int | None:
    """An option that a file states, if it does.

    Raises:
        InvalidCheckpoint: it is no number.
    """
    value = (said or {}).get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InvalidCheckpoint(f"its option {name} is {value!r} and no number", field=name)
    return value


def convolution(inputs: int, outputs: int, side: int = 3, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size of its input."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=bias)


def start_he(layer: nn.Conv2d, factor: float) -> None:
    """He's normal distribution times ``factor``, bias 0."""
    nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(factor)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def outputs_of(tensors: Mapping[str, Tensor], name: str) -> int:
    """How many channels a convolution makes; 0 if there is none of that name."""
    weight = tensors.get(f"{name}.weight")
    return weight.shape[0] if weight is not None and weight.ndim == 4 and weight.numel() else 0


def count_keys(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many keys match a regular expression as a whole: how many blocks a network has."""
    return sum(bool(re.fullmatch(pattern, key)) for key in tensors)
