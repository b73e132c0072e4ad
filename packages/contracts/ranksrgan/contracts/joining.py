"""Whether the images of several calls may go through a model as one batch, and where it computes.

A convolution over eight images is another sum, in another order, than eight over one: on a CPU
(torch 2.13, oneDNN) the last bits of a Ranker's scores change with the size of the batch, even for
one image of 32 x 32 pixels. What computes image by image does not: the metrics, and generators,
which go over one tile of one image at a time. Nobody but the model knows, so it says so; of a model
that says nothing no two calls are joined.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch

Joins = Literal["exactly", "nearly", "never"]

_CPU = torch.device("cpu")

# From the most that can be said of several models together to the least.
_ORDER: tuple[Joins, ...] = ("exactly", "nearly", "never")


@dataclass(frozen=True)
class Joining:
    """What a model says of batches.

    Attributes:
        joins: ``exactly``: the results of an image are the same to the bit whatever else the batch
            holds. ``nearly``: the same but for the order of floating-point sums, and worth it, as
            for a network on a GPU. ``never``: neither is promised, or an image's result depends on
            its neighbours.
        device: where it computes; models of one device share a worker of a server.
    """

    joins: Joins = "never"
    device: torch.device = _CPU


def joining_of(model: object) -> Joining:
    """What a scorer or an upscaler says in its attribute ``joining``; that of one which says
    nothing is never joined, on the CPU."""
    joining = getattr(model, "joining", None)
    return joining if isinstance(joining, Joining) else Joining()


def joining_of_all(models: Iterable[object]) -> Joining:
    """Of a model that is made of these, one or more: the least of what they say."""
    found = [joining_of(model) for model in models]
    return Joining(max((one.joins for one in found), key=_ORDER.index), found[0].device)
