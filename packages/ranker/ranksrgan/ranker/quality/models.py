"""Which quality models there are, and how a weights file says which one it holds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from ranksrgan.contracts.checkpoint import Weights, check_fit, load_into
from ranksrgan.contracts.errors import InvalidCheckpoint, InvalidInput, UnknownName
from ranksrgan.contracts.usual_modes import making_networks
from ranksrgan.ranker.quality.iqma import Iqma
from ranksrgan.ranker.quality.iqt import Iqt
from ranksrgan.ranker.quality.l2pips import L2Pips
from ranksrgan.ranker.quality.macs import Macs
from ranksrgan.ranker.quality.model import QualityModel
from ranksrgan.ranker.quality.pieapp import Pieapp
from ranksrgan.ranker.quality.radn import RADN
from ranksrgan.ranker.quality.sensitivity import Sensitivity
from ranksrgan.ranker.quality.wresnet import WResNet
from ranksrgan.ranker.quality.yahaha import Yahaha

#: The models by the names of ``--model`` and of weights files.
MODELS: dict[str, type[QualityModel]] = {
    "iqma": Iqma,
    "iqt": Iqt,
    "l2pips": L2Pips,
    "macs": Macs,
    "pieapp": Pieapp,
    "radn": RADN,
    "sensitivity": Sensitivity,
    "wresnet": WResNet,
    "yahaha": Yahaha,
}


def make_model(name: str, options: Mapping[str, Any]) -> QualityModel:
    """A model with initial weights, drawn from PyTorch's own random numbers.

    Args:
        name: one of `MODELS`.
        options: the arguments of its constructor.

    Raises:
        UnknownName: there is no such model.
        InvalidInput: it has no such option, or not with that value.
    """
    if name not in MODELS:
        raise UnknownName(
            f"there is no model {name!r}: {', '.join(sorted(MODELS))} are there", field="model"
        )
    taken = inspect.signature(MODELS[name]).parameters
    unknown = sorted(set(options) - set(taken))
    if unknown:
        raise InvalidInput(
            f"{name} has no option {unknown[0]}; it takes {', '.join(taken)}",
            field=f"options.{unknown[0]}",
        )
    for key, value in options.items():
        default = taken[key].default
        if not _alike(value, default):
            raise InvalidInput(
                f"{name}: {key} is {value!r}; something like {default!r} is wanted",
                field=f"options.{key}",
            )
    return MODELS[name](**options)


@making_networks()
def load_model(weights: Weights) -> QualityModel:
    """The model that the weights belong to, ready to be trained further.

    Raises:
        InvalidCheckpoint: they belong to something else.
    """
    where = str(weights.path)
    if weights.architecture not in MODELS:
        raise InvalidCheckpoint(
            f"{where} holds {weights.architecture}; one of {', '.join(sorted(MODELS))} is wanted",
            field=where,
        )
    try:
        # A file says how large its network is: what takes no memory shows whether that is true.
        with torch.device("meta"):
            check_fit(make_model(weights.architecture, weights.options), weights)
        model = make_model(weights.architecture, weights.options)
    except InvalidCheckpoint:
        raise
    # RuntimeError: a size beyond all numbers; ValueError: what a layer of PyTorch refuses
    except (InvalidInput, RuntimeError, ValueError) as error:
        raise InvalidCheckpoint(f"{where}: options: {error}", field=where) from error
    load_into(model, weights)
    return model


def _alike(value: Any, default: Any) -> bool:
    """Whether a value is of the type of the default; None and what has none may be anything."""
    if default is None or default is inspect.Parameter.empty:
        return True
    return type(value) is type(default) or (type(default) is float and type(value) is int)
